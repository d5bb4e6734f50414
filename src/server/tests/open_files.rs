//! Test that running out of open files pauses accepting and affects nothing else. The server runs in a process of its
//! own, since the limit applies to a process and the clients need files, too.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use testkit::stream::{ReadEnd, Stream};
use testkit::{PROCESS_TIMEOUT, http, within};

use super::{Server, Shutdown, config};

const ROLE: &str = "HUBPLANE_TEST_FEW_FILES";
const MAX_OPEN_FILES: u64 = 40;

#[test]
fn running_out_of_files_only_pauses_accepting() {
    if std::env::var_os(ROLE).is_some() {
        return serve_with_few_files();
    }
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server::tests::open_files::running_out_of_files_only_pauses_accepting", "--nocapture"])
        .env(ROLE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The test harness writes to the same stream, and our line does not begin at the start of a line.
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let address: SocketAddr = lines
        .find_map(|line| line.unwrap().rsplit_once("listening on ").map(|(_, address)| address.parse().unwrap()))
        .unwrap();

    let mut first = Stream::connect(address);
    assert_eq!(ask(&mut first), 200);
    let waiting: Vec<_> = (0..2 * MAX_OPEN_FILES).map(|_| Stream::connect(address)).collect();
    // The system has completed this connection, but the server cannot accept it.
    let mut last = Stream::connect(address);
    last.write(&http::request("GET /healthz", &[], b""));
    assert_eq!(ask(&mut first), 200);
    assert_eq!(last.arrived(), Err(ReadEnd::TimedOut));
    drop(waiting);
    assert_eq!(http::respond(&mut last, within(PROCESS_TIMEOUT)).unwrap().status, 200);

    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
}

fn ask(stream: &mut Stream) -> u16 {
    stream.write(&http::request("GET /readyz", &[], b""));
    http::respond(stream, within(PROCESS_TIMEOUT)).unwrap().status
}

/// Runs a server until the standard input ends.
#[allow(clippy::print_stdout)]
fn serve_with_few_files() {
    rlimit::setrlimit(rlimit::Resource::NOFILE, MAX_OPEN_FILES, MAX_OPEN_FILES).unwrap();
    let stop = Shutdown::default();
    let stop_request = stop.clone();
    let input = std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        stop_request.request();
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bound = Server::builder(config()).build().await.unwrap().bind().unwrap();
        println!("listening on {}", bound.local_addr());
        // The server is ready before it answers the first request, since its tasks were spawned before the listener.
        bound.run_until(&stop).await.unwrap();
    });
    input.join().unwrap();
}
