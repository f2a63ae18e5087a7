//! The same command lines of Debian's `pg_md5` and `pg_enc` and of ours, each in a directory of its own: exit code, both
//! streams and the file that is written, byte by byte and with its mode. Then each program's file is used by the other.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;

use super::PGPOOL;
use crate::harness::balancer::{Conf, Program};
use crate::harness::tools::{psql, run};
use crate::harness::{Balancer, process, shared};

/// Command lines that give the same. In each directory lie `c.conf`, `none.conf` (no pool_passwd), `pool_passwd`, `key`, `open_key`
/// (which others may read), `empty_key`, `odd_key` (blanks and a second line), and `in` (input).
const SAME: &[&str] = &[
    "pg_md5",
    "pg_md5 secret",
    "pg_md5 a b",
    "pg_md5 \u{e4}\u{20ac}",
    "pg_md5 -u ann secret",
    "pg_md5 -h",
    "pg_md5 --help",
    "pg_md5 -x",
    "pg_md5 -u",
    "pg_md5 --nosuch",
    "pg_md5 -p",
    "pg_md5 --pro secret",
    "pg_md5 -m -u ann -f c.conf secret",
    "pg_md5 --md5auth --username=ann --config-file c.conf secret",
    "pg_md5 secret --conf c.conf -muann",
    "pg_md5 -m -f c.conf secret",
    "pg_md5 -m -f c.conf -u bob secret",
    "pg_md5 -m -f none.conf -u ann secret",
    "pg_md5 -m -f nosuch.conf -u ann secret",
    "pg_md5 -m -f c.conf -u ann",
    "pg_md5 -i in",
    "pg_md5 -m -i in -f c.conf",
    "pg_md5 -m -i nosuch -f c.conf",
    "pg_md5 -m -i in -u x -f c.conf secret",
    "pg_md5 LONGEST",
    "pg_md5 TOO_LONG",
    "pg_enc",
    "pg_enc secret -k key",
    "pg_enc -k open_key secret",
    "pg_enc -k empty_key secret",
    "pg_enc -k nosuch secret",
    "pg_enc -k odd_key secret",
    "pg_enc -K pgpoolkey secret",
    "pg_enc -K pgpoolkey \u{e4}\u{20ac}",
    "pg_enc -K pgpoolkey -k nosuch secret",
    "pg_enc --enc-key=TOO_LONGTOO_LONG secret",
    "pg_enc -K pgpoolkey a b",
    "pg_enc -K pgpoolkey -u ann secret",
    "pg_enc -K pgpoolkey -m -f c.conf secret",
    "pg_enc -K pgpoolkey -m -f c.conf -u ann secret",
    "pg_enc -K pgpoolkey -m -f c.conf -u bob secret",
    "pg_enc -k key --update-pass --config-file=c.conf --username=ann secret",
    "pg_enc -K pgpoolkey -m -f none.conf -u ann secret",
    "pg_enc -K pgpoolkey -m -f nosuch.conf -u ann secret",
    "pg_enc -k nosuch -m -f c.conf -u ann secret",
    "pg_enc -K pgpoolkey -i in",
    "pg_enc -K pgpoolkey -m -f c.conf -i in",
    "pg_enc -K pgpoolkey -m -f c.conf -i nosuch",
    "pg_enc -K pgpoolkey -p",
    "pg_enc -P secret",
    "pg_enc --p secret",
    "pg_enc -h",
    "pg_enc -x",
    "pg_enc -K",
    "pg_enc -K pgpoolkey LONGEST",
    "pg_enc -K pgpoolkey TOO_LONG",
    "pg_enc -k nosuch TOO_LONG",
];

/// Both programs leave out what they print for the process and the version.
fn alike(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text = Regex::new(r"pid \d+").unwrap().replace_all(&text, "pid N").into_owned();
    Regex::new(r"pgpool-II version .*,\n").unwrap().replace_all(&text, "VERSION\n").into_owned()
}

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text, mode) in [
        ("c.conf", "pool_passwd = 'pool_passwd'\n", 0o644),
        ("none.conf", "pool_passwd = ''\n", 0o644),
        ("pool_passwd", "bob:md5x\n# note\nbob:other\nzed:TEXTa\n", 0o640),
        ("key", "pgpoolkey\n", 0o600),
        ("open_key", "pgpoolkey", 0o644),
        ("empty_key", "", 0o600),
        ("odd_key", "  pgpool key \r\nnext\n", 0o400),
        (
            "in",
            "ann:pw1\nbob:p:w\n\n# note\nnocolon\n:pw3\ncy:\n dan :pw 4 \n\u{e4}:\u{20ac}\nend:pw5",
            0o644,
        ),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    dir
}

fn seen(program: &Path, line: &str) -> Vec<String> {
    let dir = directory();
    let mut words = line.split(' ').map(|word| match word {
        "LONGEST" => "x".repeat(128),
        word => word.replace("TOO_LONG", &"x".repeat(129)),
    });
    let mut command = Command::new(program);
    command.arg0(words.next().unwrap()).args(words).current_dir(dir.path()).env_remove("PGPOOLKEYFILE");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let mut seen = vec![output.status.to_string(), alike(&output.stdout), alike(&output.stderr)];
    let path = dir.path().join("pool_passwd");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    seen.push(format!("{mode:o}:\n{}", std::fs::read_to_string(path).unwrap()));
    seen
}

fn ours() -> PathBuf {
    env!("CARGO_BIN_EXE_pg_enc").into()
}

#[test]
fn pg_md5_and_pg_enc_do_what_debians_do() {
    for line in SAME {
        let name = line.split(' ').next().unwrap();
        assert_eq!(seen(&ours(), line), seen(&Path::new("/usr/sbin").join(name), line), "{line}");
    }
}

/// Writes lines for two users of the cluster.
fn written_by(md5: &Path, enc: &Path) -> String {
    let dir = directory();
    std::fs::remove_file(dir.path().join("pool_passwd")).unwrap();
    let tool = |program: &Path, name: &str, line: &str| {
        let mut command = Command::new(program);
        command.arg0(name).args(line.split(' ')).current_dir(dir.path());
        run(command.stdin(Stdio::null())).succeeded();
    };
    tool(md5, "pg_md5", "-m -f c.conf -u md5_user md5_user_secret");
    tool(enc, "pg_enc", "-k key -m -f c.conf -u scram_user scram_user_secret");
    std::fs::read_to_string(dir.path().join("pool_passwd")).unwrap()
}

#[test]
fn each_programs_pool_passwd_serves_the_other() {
    let theirs = written_by(Path::new("/usr/sbin/pg_md5"), Path::new("/usr/sbin/pg_enc"));
    let mine = written_by(&ours(), &ours());
    assert_eq!(mine, theirs);
    let under_test = Program::Ours(env!("CARGO_BIN_EXE_pgbalancer").into());
    for (program, passwords) in [(under_test, theirs), (Program::Pgpool(PGPOOL.into()), mine)] {
        let conf = Conf::of(shared()).set("enable_pool_hba", "on").set("pool_passwd", "'pool_passwd'");
        let hba = "local all all trust\nhost all postgres all trust\nhost all scram_user all scram-sha-256\n\
                   host all all all md5\n";
        let files = [("pool_hba.conf", hba), ("pool_passwd", &passwords), (".pgpoolkey", "pgpoolkey\n")];
        let balancer = Balancer::start_program(program, conf, &files);
        balancer.wait_roles();
        for user in ["md5_user", "scram_user"] {
            for (password, ok) in [(format!("{user}_secret"), true), ("wrong".to_owned(), false)] {
                let mut client = psql(&balancer.door("postgres").as_user(user));
                let ran = run(client.args(["-c", "SELECT 1"]).env("PGPASSWORD", &password));
                assert_eq!(ran.ok, ok, "{user} with {password}: {}\n{}", ran.err, balancer.log());
            }
        }
    }
}

/// Where theirs loses a password, or lets another one in, ours does otherwise (compat/quirks.md).
#[test]
fn what_pg_md5_and_pg_enc_do_better() {
    for name in ["pg_md5 -m", "pg_enc -K k -m"] {
        // A user with a colon would be another user with another password.
        let [status, _, err, file] = seen(&ours(), &format!("{name} -f c.conf -u a:b x")).try_into().unwrap();
        assert!(status.contains('1') && err.contains("cannot stand in pool_passwd"), "{status} {err}");
        assert!(!file.contains("a:b"));
    }
    // The unfinished last line of a file stays somebody's.
    let dir = tempfile::tempdir().unwrap();
    // Theirs does not look at the parameter.
    process::write(&dir.path().join("c.conf"), "pool_passwd = 'other'");
    std::fs::write(dir.path().join("other"), "zed:TEXTa").unwrap();
    let mut command = Command::new(ours());
    run(command.arg0("pg_md5").args(["-m", "-f", "c.conf", "-u", "ann", "secret"]).current_dir(dir.path()))
        .succeeded();
    let content = std::fs::read_to_string(dir.path().join("other")).unwrap();
    assert_eq!(content, "zed:TEXTa\nann:md59d792a3a8853c2411afb9163d088c036\n");
}

/// Types these lines at a terminal; what the terminal shows.
fn typed(program: &Path, line: &str, answers: &str) -> String {
    let dir = directory();
    let script = "import os, pty, sys\n\
        name, program, answers = sys.argv[1], sys.argv[2], sys.argv[3]\n\
        pid, fd = pty.fork()\n\
        if pid == 0: os.execv(program, [name] + sys.argv[4:])\n\
        shown = b''\n\
        for answer in answers.split('|'):\n\
        \x20   while not shown.rstrip(b'\\r\\n').endswith(b': '): shown += os.read(fd, 1)\n\
        \x20   os.write(fd, answer.encode() + b'\\n'); shown += b'*'\n\
        try:\n\
        \x20   while True: shown += os.read(fd, 1024) or exit()\n\
        except OSError: pass\n\
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n\
        print(shown.decode(), code)\n";
    let mut words = line.split(' ');
    let mut command = Command::new("python3");
    command.args(["-c", script, words.next().unwrap()]).arg(program).arg(answers).args(words);
    run(command.current_dir(dir.path())).succeeded().out
}

#[test]
fn passwords_are_typed_as_for_debians_tools() {
    for line in ["pg_md5 -p", "pg_md5 -p -m -f c.conf -u ann", "pg_enc -p -K pgpoolkey", "pg_enc -k key"] {
        let name = line.split(' ').next().unwrap();
        let theirs = typed(&Path::new("/usr/sbin").join(name), line, "secret");
        assert_eq!(typed(&ours(), line, "secret"), theirs, "{line}");
        assert!(!theirs.contains("secret"));
    }
    // Theirs asks for the key and says that none was given.
    let shown = typed(&ours(), "pg_enc -P", "secret|pgpoolkey");
    assert!(shown.ends_with("pool_passwd string: AES/JkxGLX6vvcF+QySgi0gnA==\r\n 0\n"), "{shown}");
    assert!(!shown.contains("pgpoolkey\r") && shown.starts_with("db password: *\r\nencryption key: *\r\n"));
}
