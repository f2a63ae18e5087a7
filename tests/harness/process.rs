//! Starting programs as an ordinary user, and looking at processes through /proc.
//!
//! PostgreSQL refuses to run as root, so root hands what serves to the user `postgres`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};

fn server_user() -> Option<User> {
    if !Uid::effective().is_root() {
        return None;
    }
    Some(User::from_name("postgres").unwrap().expect("no user postgres: run scripts/need server"))
}

/// A command that runs as the ordinary user and dies with the thread that started it, however that ends.
pub(crate) fn as_server_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if server_user().is_some() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups"]);
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A directory of its own, which the ordinary user can read and write. Gone when dropped.
pub(crate) fn server_dir(name: &str) -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix(&format!("pgbalancer-{name}.")).tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    give_to_server_user(dir.path());
    dir
}

pub(crate) fn give_to_server_user(path: &Path) {
    if let Some(user) = server_user() {
        nix::unistd::chown(path, Some(user.uid), Some(user.gid)).unwrap();
    }
}

/// Writes a file that the ordinary user owns.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::write(path, text).unwrap();
    give_to_server_user(path);
}

/// Writes a file that can be run.
pub(crate) fn write_script(path: &Path, text: impl AsRef<[u8]>) {
    write(path, text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A script of this name, which is gone with its directory.
pub(crate) fn script(name: &str, text: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let dir = server_dir("scripts");
    let path = dir.path().join(name);
    write_script(&path, text);
    (dir, path)
}

/// The program itself, or a copy in `dir` when the ordinary user may not reach it (a clone below /root).
pub(crate) fn reachable(program: &Path, dir: &Path) -> PathBuf {
    let test = as_server_user(Path::new("test")).arg("-x").arg(program).status().unwrap();
    if test.success() {
        return program.to_owned();
    }
    let copy = dir.join(program.file_name().unwrap());
    std::fs::copy(program, &copy).unwrap();
    copy
}

/// Holds a process up, as a debugger or a swapping machine would.
pub(crate) fn stop(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
}

/// Whether the process sleeps: it has done what there was to do.
pub(crate) fn is_at_rest(pid: i32) -> bool {
    status_line(pid, "State:").is_some_and(|state| state.starts_with('S'))
}

/// Whether it is held up by now, all of it.
pub(crate) fn is_stopped(pid: i32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut tasks =
        tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    tasks.all(|status| status.lines().any(|line| line.starts_with("State:\tT")))
}

/// Lets it run again.
pub(crate) fn go_on(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGCONT).unwrap();
}

pub(crate) fn children(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// The processes whose working directory this is, the oldest first.
pub(crate) fn at_work_in(directory: &Path) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_there = |pid: &i32| {
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|at| at == directory) && is_alive(*pid)
    };
    let mut found: Vec<i32> = pids.filter(is_there).collect();
    found.sort_unstable();
    found
}

/// Whether the process exists and is not merely waiting to be reaped.
pub(crate) fn is_alive(pid: i32) -> bool {
    status_line(pid, "State:").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// The title the process gives itself, as ps shows it.
pub(crate) fn title(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

/// All processes with this title.
pub(crate) fn titled(text: &str) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| title(*pid) == text).collect()
}

/// The most memory the process ever held, in KiB.
pub(crate) fn peak_memory_kib(pid: i32) -> u64 {
    status_number(pid, "VmHWM:")
}

/// The memory it holds now, in KiB.
pub(crate) fn memory_kib(pid: i32) -> u64 {
    status_number(pid, "VmRSS:")
}

/// How often it has waited for something and gone on.
pub(crate) fn times_woken(pid: i32) -> u64 {
    status_number(pid, "voluntary_ctxt_switches:")
}

fn status_number(pid: i32, name: &str) -> u64 {
    let line = status_line(pid, name).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn status_line(pid: i32, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
}

/// The inode of the end of a loopback connection that has these two ports.
pub(crate) fn socket_inode(local: u16, remote: u16) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let (local, remote) = (format!(":{local:04X}"), format!(":{remote:04X}"));
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let found = words.get(1)?.ends_with(&local) && words.get(2)?.ends_with(&remote);
        found.then(|| words.get(9).map(|inode| (*inode).to_owned())).flatten()
    })
}

pub(crate) fn has_socket(pid: i32, inode: &str) -> bool {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
    open.into_iter()
        .flatten()
        .flatten()
        .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == wanted))
}
