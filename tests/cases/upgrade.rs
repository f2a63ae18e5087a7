//! `--upgrade` and USR2: a new program takes over the sockets while old sessions finish.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::balancer::{Conf, Program};
use crate::harness::mosquitto::Mosquitto;
use crate::harness::{Balancer, Client, Door, pcp, process, rest, shared, tools, wait};

/// A program with its pid file; whoever is in that at the end is stopped.
struct Scene {
    balancer: Balancer,
}

impl Scene {
    fn start(conf: Conf) -> Scene {
        Scene { balancer: Balancer::start(conf) }
    }

    fn pid_path(&self) -> PathBuf {
        self.balancer.dir.path().join("pgbalancer.pid")
    }

    /// The process that is the service.
    fn pid(&self) -> i32 {
        let text = std::fs::read_to_string(self.pid_path()).unwrap_or_default();
        text.trim_end_matches('\0').parse().unwrap_or(0)
    }

    fn door(&self) -> Door {
        self.balancer.door("postgres")
    }

    /// Upgrades by the command; returns the process that has taken over.
    fn upgrade(&self) -> i32 {
        let old = self.pid();
        let ran = self.balancer.command(&["--upgrade"]).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        let new = self.pid();
        assert!(ran.status.success() && new != old, "{said}");
        assert!(said.contains(&format!("process {new} has taken over from {old}")), "{said}");
        new
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let pid = self.pid();
        if pid > 0 && kill(Pid::from_raw(pid), Signal::SIGINT).is_ok() {
            wait::until_true("the service to be gone", || !process::is_alive(pid));
        }
    }
}

fn conf() -> Conf {
    Conf::of(shared()).set("num_init_children", "3").set("sessions_per_child", "20")
}

/// Connects and asks all the time until it is told to end; returns how often it went well. Nothing may fail.
fn hammer(door: &Door, stop: &Arc<AtomicBool>, count: &Arc<AtomicUsize>) -> std::thread::JoinHandle<()> {
    let (door, stop, count) = (door.clone(), Arc::clone(stop), Arc::clone(count));
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let mut client = Client::connect(&door);
            assert_eq!(client.ask("SELECT 1"), "1");
            client.terminate();
            count.fetch_add(1, Ordering::Relaxed);
        }
    })
}

#[test]
fn the_new_program_is_the_one_at_the_mqtt_broker() {
    let broker = Mosquitto::start();
    let all = broker.subscribe(&["-t", "pgbalancer/#"]);
    let conf =
        conf().set("mqtt_enabled", "on").set("mqtt_port", &broker.port.to_string()).set("mqtt_qos", "1");
    let scene = Scene::start(conf.set("mqtt_reconnect_delay_max", "1").set("rest_api_enabled", "on"));
    all.wait_on("pgbalancer/status", |got| got.payload == "online");
    let mut session = Client::connect(&scene.door());
    scene.upgrade();
    let told = || all.all().into_iter().filter(|got| got.topic == "pgbalancer/status").collect::<Vec<_>>();
    wait::until_true("the new program to be there for good", || {
        rest::get(&scene.balancer, "/api/v1/mqtt").good()["connected"] == true
            && told().last().is_some_and(|got| got.payload == "online")
            && told().len() > 1
    });
    rest::post(&scene.balancer, "/api/v1/control/reload", "").good();
    all.wait_on("pgbalancer/events/config_reload", |_| true);
    assert_eq!(session.ask("SELECT 1"), "1", "the old program still serves");
}

/// What is answered over a Unix socket.
fn over_file(door: &Door, sql: &str) -> String {
    tools::run(tools::psql(door).args(["-A", "-t", "-c", sql])).succeeded().out.trim().to_owned()
}

#[test]
fn no_client_is_refused_and_old_sessions_finish() {
    let mut scene = Scene::start(conf());
    let first = scene.pid();
    let mut old = Client::connect(&scene.door());
    old.query("BEGIN").succeeded();
    old.query("CREATE TEMP TABLE mine AS SELECT 7 AS n").succeeded();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let door = scene.door();
    let threads: Vec<_> = (0..3).map(|_| hammer(&door, &stop, &count)).collect();
    let mut pids = vec![first];
    for _ in 0..2 {
        pids.push(scene.upgrade());
        let so_far = count.load(Ordering::Relaxed);
        wait::until_true("new clients to be served", || count.load(Ordering::Relaxed) > so_far + 50);
    }
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(old.ask("SELECT n FROM mine"), "7");
    old.query("COMMIT").succeeded();
    // The one in the middle has no session of its own and waits for the first, which has.
    assert!(pids.iter().all(|pid| process::is_alive(*pid)), "{pids:?}");
    old.terminate();
    assert!(scene.balancer.exit().success());
    wait::until_true("the second to be gone", || !process::is_alive(pids[1]));
    assert!(process::is_alive(pids[2]) && scene.pid() == pids[2]);
    assert_eq!(over_file(&scene.balancer.local_door("postgres"), "SELECT 1"), "1");
    let stop = scene.balancer.command(&["-m", "fast", "stop"]).output().unwrap();
    assert!(stop.status.success());
    assert!(!scene.pid_path().exists() && !process::is_alive(pids[2]));
    let left: Vec<_> = std::fs::read_dir(scene.balancer.dir.path()).unwrap().flatten().collect();
    assert!(
        !left.iter().any(|entry| entry.file_name().to_string_lossy().starts_with(".s.PGSQL")),
        "{left:?}"
    );
}

#[test]
fn an_old_session_can_still_be_cancelled_and_stopped() {
    let mut scene = Scene::start(conf());
    let mut old = Client::connect(&scene.door());
    old.simple("DO $$ BEGIN RAISE NOTICE 'runs'; PERFORM pg_sleep(60); END $$").send().until('N');
    scene.upgrade();
    let middle = scene.upgrade();
    old.cancel();
    assert_eq!(old.until_ready().error_code(), "57014");
    // A key that nobody knows is answered as well: the connection is closed.
    let mut new = Client::connect(&scene.door());
    new.cancel_with(&[1, 2, 3, 4]);
    assert_eq!(new.ask("SELECT 1"), "1");
    let stop = scene.balancer.command(&["-m", "fast", "stop"]).output().unwrap();
    assert!(stop.status.success());
    for client in [&mut old, &mut new] {
        assert!(client.is_closed_within(Duration::from_secs(5)));
    }
    assert!(scene.balancer.exit().success());
    assert!(!process::is_alive(middle));
}

#[test]
fn what_the_new_program_cannot_do_leaves_the_old_one_alone() {
    let mut scene = Scene::start(conf());
    let first = scene.pid();
    let mut old = Client::connect(&scene.door());
    // It starts, but cannot listen.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    scene.balancer.rewrite(|conf| conf.set("port", &port).set("listen_addresses", "'127.0.0.1'"));
    scene.balancer.signal(Signal::SIGUSR2);
    scene.balancer.wait_log("upgrade: the new program has ended (Exited(3)); the old one goes on");
    assert_eq!(scene.pid(), first);
    assert_eq!(old.ask("SELECT 1"), "1");
    assert_eq!(Client::connect(&scene.door()).ask("SELECT 1"), "1");
    assert_eq!(over_file(&scene.balancer.local_door("postgres"), "SELECT 1"), "1");
    // The command looks at the file first.
    scene.balancer.rewrite(|conf| conf.set("max_pool", "many"));
    let ran = scene.balancer.command(&["--upgrade"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("max_pool"));
}

#[test]
fn new_values_and_new_sockets_come_into_force() {
    let mut scene = Scene::start(conf());
    let other = process::server_dir("other");
    let (dir, more) = (scene.balancer.dir.path().display().to_string(), other.path().display().to_string());
    assert!(std::path::Path::new(&dir).join(format!(".s.PGSQL.{}", scene.balancer.port)).exists());
    scene
        .balancer
        .rewrite(|conf| conf.set("max_pool", "7").set("unix_socket_directories", &format!("'{more}'")));
    scene.upgrade();
    let door = Door { host: more.clone(), ..scene.door() };
    // For a moment the old program takes clients, too.
    wait::until_equal("7".to_owned(), || Client::connect(&scene.door()).ask("PGPOOL SHOW max_pool"));
    assert_eq!(over_file(&door, "PGPOOL SHOW max_pool"), "7");
    wait::until_true("the old socket file to be gone", || {
        !std::path::Path::new(&dir).join(format!(".s.PGSQL.{}", scene.balancer.port)).exists()
    });
}

#[test]
fn it_goes_on_under_its_name_with_its_log() {
    let Program::Ours(_) = Program::under_test() else { panic!("only ours does this") };
    let conf =
        conf().set("logging_collector", "on").set("log_directory", "'logs'").set("log_filename", "'x.log'");
    let mut balancer = Balancer::prepared_only(Program::under_test(), conf);
    let link = balancer.dir.path().join("pgpool");
    std::fs::copy(balancer.program_path(), &link).unwrap();
    balancer.start_as(&link);
    let scene = Scene { balancer };
    let collected =
        || std::fs::read_to_string(scene.balancer.dir.path().join("logs/x.log")).unwrap_or_default();
    let started = "pgpool-II successfully started";
    wait::until_true("the first to have started", || collected().contains(started));
    let new = scene.upgrade();
    wait::until_true("the second to have started", || collected().matches(started).count() == 2);
    wait::until_true("the titles of the second", || {
        let titles: Vec<String> = process::children(new).into_iter().map(process::title).collect();
        titles.iter().any(|title| title == "pgpool: wait for connection request")
    });
    // What it writes does not go through the pipe of the first, which ends.
    wait::until_true("the end of the first", || collected().contains("Pgpool-II system is shutdown"));
    let mut client = Client::connect(&scene.door());
    client.query("PGPOOL SET log_statement = on").succeeded();
    client.query("SELECT 'said later'").succeeded();
    wait::until_true("the later statement", || collected().contains("statement: SELECT 'said later'"));
}

#[test]
fn the_service_manager_hears_who_is_the_service() {
    let dir = process::server_dir("notify");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    process::give_to_server_user(&path);
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let heard = || {
        let mut buffer = [0; 500];
        let length = socket.recv(&mut buffer).expect("a message to the service manager");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let path = path.display().to_string();
    let balancer =
        Balancer::start_by(conf(), |_| vec!["/usr/bin/env".to_owned(), format!("NOTIFY_SOCKET={path}")]);
    let mut scene = Scene { balancer };
    assert!(heard().starts_with("READY=1\n"));
    scene.balancer.reload();
    assert!(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(heard().starts_with("READY=1\n"));
    let new = scene.upgrade();
    assert!(heard().starts_with(&format!("MAINPID={new}\nREADY=1\n")));
    assert!(scene.balancer.exit().success());
    kill(Pid::from_raw(new), Signal::SIGHUP).unwrap();
    assert!(heard().starts_with("RELOADING=1\n"));
    assert!(heard().starts_with("READY=1\n"));
    kill(Pid::from_raw(new), Signal::SIGTERM).unwrap();
    assert!(heard().starts_with("STOPPING=1\n"));
    // Nobody else may speak for it: children do not know the socket.
    for child in process::children(new) {
        let environment = std::fs::read(format!("/proc/{child}/environ")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&environment).contains("NOTIFY_SOCKET"));
    }
}

#[test]
fn the_service_manager_gets_signs_of_life_from_whoever_is_the_service() {
    let dir = process::server_dir("notify");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    process::give_to_server_user(&path);
    socket.set_read_timeout(Some(wait::LIMIT)).unwrap();
    let heard = || {
        let mut buffer = [0; 500];
        let length = socket.recv(&mut buffer).expect("a message to the service manager");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let wait_heard = |text: &str| while heard() != text {};
    let socket_variable = format!("NOTIFY_SOCKET={}", path.display());
    let starter = vec!["/usr/bin/env".to_owned(), socket_variable, "WATCHDOG_USEC=200000".to_owned()];
    let balancer = Balancer::start_by(conf(), |_| starter);
    let mut scene = Scene { balancer };
    (0..3).for_each(|_| wait_heard("WATCHDOG=1"));
    let new = scene.upgrade();
    assert!(scene.balancer.exit().success());
    while !heard().starts_with(&format!("MAINPID={new}\n")) {}
    (0..3).for_each(|_| wait_heard("WATCHDOG=1"));
    // A main process that stands still is not alive.
    let new = Pid::from_raw(new);
    kill(new, Signal::SIGSTOP).unwrap();
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut [0; 500]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert!(socket.recv(&mut [0; 500]).is_err(), "a sign of life of one that stands still");
    kill(new, Signal::SIGCONT).unwrap();
    socket.set_read_timeout(Some(wait::LIMIT)).unwrap();
    wait_heard("WATCHDOG=1");
    kill(new, Signal::SIGTERM).unwrap();
}

#[test]
fn pcp_tools_reach_the_new_program_and_only_that() {
    let scene = Scene { balancer: Balancer::start_with(conf(), &[pcp::CONF]) };
    let is_pcp = |pid: &i32| process::title(*pid).ends_with("PCP: wait for connection request");
    let old = scene.balancer.children().into_iter().find(is_pcp).expect("the PCP process");
    let mut session = Client::connect(&scene.door());
    assert_eq!(session.ask("SELECT 1"), "1");
    let new = scene.upgrade();
    wait::until_true("the end of the old PCP process", || !process::is_alive(old));
    assert_eq!(pcp::tool(&scene.balancer, "pcp_node_count").succeeded().out, "3\n");
    assert_eq!(session.ask("SELECT 2"), "2", "the old program still serves its session");
    session.terminate();
    pcp::tool(&scene.balancer, "pcp_stop_pgpool -m f").succeeded();
    wait::until_true("the end of the new program", || !process::is_alive(new));
}

#[test]
fn the_rest_api_is_that_of_the_new_program() {
    let scene = Scene { balancer: Balancer::start(conf().set("rest_api_enabled", "on")) };
    let status = || rest::get(&scene.balancer, "/api/v1/status").good();
    let before = status()["started_at"].clone();
    rest::post(&scene.balancer, "/api/v1/nodes/2/detach", "").good();
    // The old one has served its last request when its process is gone.
    let is_rest = |pid: &i32| process::title(*pid).ends_with("REST API");
    let old = scene.balancer.children().into_iter().find(is_rest).expect("the REST API process");
    let new = scene.upgrade();
    wait::until_true("the old REST API process to end", || !process::is_alive(old));
    wait::until_true("the new program to answer", || status()["healthy_nodes"] == 2);
    assert!(status()["started_at"].as_u64() >= before.as_u64());
    assert_eq!(rest::over_unix(&scene.balancer, "GET", "/api/v1/nodes/2").good()["status"], "down");
    rest::post(&scene.balancer, "/api/v1/control/stop", "{\"mode\": \"fast\"}").good();
    wait::until_true("the new program to end", || !process::is_alive(new));
}
