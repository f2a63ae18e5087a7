//! The process title that ps shows: written over the memory in which the kernel handed us argv and environ.
//!
//! `prepare` must run once, before any thread and after the arguments were read; what
//! `std::env::args` returns afterwards is the title. Elsewhere than on Linux with glibc, nothing happens.

pub use imp::{prepare, set};

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod imp {
    use std::ffi::{CStr, c_char, c_int};
    use std::ptr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    static ARGV: AtomicPtr<*const c_char> = AtomicPtr::new(ptr::null_mut());
    static AREA: OnceLock<Area> = OnceLock::new();

    /// glibc calls this before `main` with what the kernel handed over; nothing else tells where argv lies.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static RECORD: extern "C" fn(c_int, *mut *const c_char, *mut *const c_char) = record;

    extern "C" fn record(_count: c_int, argv: *mut *const c_char, _environ: *mut *const c_char) {
        ARGV.store(argv, Ordering::Relaxed);
    }

    unsafe extern "C" {
        static mut environ: *mut *mut c_char;
    }

    struct Area {
        start: usize,
        length: usize,
        prefix: String,
        /// Bytes that the last title may have left other than zero.
        dirty: AtomicUsize,
    }

    /// Frees the room: moves the environment away. `prefix` stands before every title, as `pgpool: `.
    pub fn prepare(prefix: &str) {
        let argv = ARGV.load(Ordering::Relaxed);
        if argv.is_null() {
            return;
        }
        // SAFETY: argv is the array glibc passed to the hook: pointers to NUL-terminated texts, ended by
        // a null pointer. environ is the same or null. One thread runs, so nobody reads environ meanwhile.
        unsafe {
            let start = *argv;
            if start.is_null() {
                return;
            }
            let mut end = start;
            let mut slot = argv.cast_const();
            while *slot == end {
                end = end.add(CStr::from_ptr(end).to_bytes_with_nul().len());
                slot = slot.add(1);
            }
            let mut slot = environ;
            while !slot.is_null() && (*slot).cast_const() == end {
                let text = CStr::from_ptr(*slot);
                end = end.add(text.to_bytes_with_nul().len());
                // Never freed: the environment lives as long as the process.
                *slot = text.to_owned().into_raw();
                slot = slot.add(1);
            }
            let length = end.offset_from_unsigned(start);
            let dirty = AtomicUsize::new(length);
            let _ = AREA.set(Area { start: start as usize, length, prefix: prefix.to_owned(), dirty });
        }
    }

    /// Shows `prefix` + `text`, cut to the room there is.
    pub fn set(text: &str) {
        let Some(area) = AREA.get() else { return };
        let room = area.length.saturating_sub(1);
        let bytes = area.prefix.bytes().chain(text.bytes()).filter(|byte| *byte != 0).take(room);
        let mut written = 0;
        for byte in bytes {
            area.put(written, byte);
            written += 1;
        }
        // The area is as long as argv and the environment: only what the last title wrote is wiped.
        for offset in written..area.dirty.swap(written, Ordering::Relaxed) {
            area.put(offset, 0);
        }
    }

    impl Area {
        fn put(&self, offset: usize, byte: u8) {
            if offset < self.length {
                // SAFETY: the area was measured in `prepare` and belongs to the stack's top, which lives as
                // long as the process; one event loop writes titles, and only the kernel reads them.
                unsafe { ((self.start + offset) as *mut u8).write_volatile(byte) };
            }
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod imp {
    /// Nothing to prepare here.
    pub fn prepare(_prefix: &str) {}

    /// Titles cannot be set here.
    pub fn set(_text: &str) {}
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;
    use crate::sys::process::fork;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    #[test]
    fn ps_sees_the_title_and_the_environment_survives() {
        let pid = fork(|| {
            let path = std::env::var("PATH");
            prepare("pgpool: ");
            set("a title that was longer than the next one is");
            set("wait for connection request");
            let shown = std::fs::read("/proc/self/cmdline").unwrap_or_default();
            let good = shown.starts_with(b"pgpool: wait for connection request\0")
                && shown.iter().skip(35).all(|byte| *byte == 0);
            i32::from(!good) + 2 * i32::from(std::env::var("PATH") != path)
        })
        .unwrap();
        let pid = Pid::from_raw(pid);
        assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 0)));
    }
}
