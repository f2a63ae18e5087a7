//! What needs no server.

use super::*;

#[test]
fn passwords_are_hashed_as_postgresql_has_them() {
    let home = tempfile::tempdir().unwrap();
    for line in ["password-hash ann secret", "password hash ann secret", "password ann secret"] {
        let ran = run(command(home.path()).args(line.split(' ')));
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (0, "MD5 Hash: md59d792a3a8853c2411afb9163d088c036\n"),
            "{line}"
        );
    }
    let ran = run(command(home.path()).args(["-j", "password-hash", "ann", "secret"]));
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["hash"].as_str().unwrap().len(), 35);
    let ran = run(command(home.path()).args(["password-encrypt", "ann", "secret"]));
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (1, "", "bctl: AES passwords come with pg_enc\n")
    );
}

#[test]
fn help_names_the_commands() {
    let home = tempfile::tempdir().unwrap();
    for line in ["help", "--help", "-h", "completion bash", "completion zsh", "completion fish"] {
        let ran = run(command(home.path()).args(line.split(' ')));
        assert!(ran.code == 0 && ran.out.contains("logrotate") && ran.out.contains("mqtt"), "{line}");
    }
    let ran = run(command(home.path()).arg("--version"));
    assert_eq!(ran.out, concat!("bctl (pgbalancer) ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(run(command(home.path()).args(["help", "nodes"])).out.contains("weight"));
}

#[test]
fn completion_is_what_shells_understand() {
    let home = tempfile::tempdir().unwrap();
    let script = run(command(home.path()).args(["completion", "bash"])).out;
    let path = home.path().join("bctl.bash");
    fs::write(&path, script).unwrap();
    let ask = format!(
        "source {}; COMP_WORDS=(bctl nodes att); COMP_CWORD=2; _bctl bctl att nodes; echo \"${{COMPREPLY[*]}}\"",
        path.display()
    );
    let ran = run(Command::new("bash").args(["-c", &ask]));
    assert_eq!((ran.code, ran.out.as_str()), (0, "attach\n"), "{}", ran.err);
}
