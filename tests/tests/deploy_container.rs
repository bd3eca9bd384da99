//! The image of `deploy/Dockerfile`: its last stage, over the program of this build, run as it is meant to be.
#![allow(clippy::expect_used, clippy::panic, reason = "every function here is a test's")]

mod program;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

use store_testkit::{ServerTests, TestFailure};

const DOCKERFILE: &str = include_str!("../../deploy/Dockerfile");
const PATIENCE: Duration = Duration::from_secs(60);
const SETTINGS: &str = "
stores: { main: 'embedded:/var/lib/fstore/features.redb' }
server:
  insecure: true
feature_views:
  - { name: customers, entities: [customer_id], features: { orders: int64 } }
";
const WRITE: &str = "POST /v1/tenants/acme/views/customers/write";
const ROW: &str = r#"{"rows":[{"entity":{"customer_id":7},"features":{"orders":42}}]}"#;
const READ: &str = r#"{"features":["customers:orders"],"entities":{"customer_id":[7]}}"#;

type Outcome<T = ()> = Result<T, TestFailure>;

fn main() -> ExitCode {
    ServerTests::new("docker", "docker")
        .test("the_image_serves_without_root_or_a_writable_root_and_drains", || async {
            tokio::task::spawn_blocking(served).await.map_err(|e| e.to_string())?
        })
        .run()
}

fn served() -> Outcome {
    docker(&["version"]).map_err(|why| TestFailure::unavailable(format!("Docker does not answer: {why}")))?;
    let image = Image::build()?;
    let container = Container::run(&image)?;
    container.until("it is healthy", |it| {
        it.inspect("{{.State.Health.Status}}").is_ok_and(|is| is == "healthy")
    })?;
    let facts = container.inspect("{{.Config.User}} {{.HostConfig.ReadonlyRootfs}}")?;
    expect("not root, and read-only", &facts, "65532:65532 true")?;
    let (data, admin) = (container.address(6566)?, container.address(6567)?);
    expect("/livez", &ask(&admin, "GET /livez", "")?, "200")?;
    expect("a write", &ask(&data, WRITE, ROW)?, "200")?;
    expect("a read", &ask(&data, "POST /v1/tenants/acme/read", READ)?, "\"values\":[42]")?;

    // A request whose body is on its way when the container is told to stop.
    let (first, rest) = ROW.split_at(20);
    let mut stream = connect(&data)?;
    write!(stream, "{}{first}", head(WRITE, ROW.len()))?;
    sleep(Duration::from_millis(200));
    docker(&["kill", "--signal", "TERM", &container.name])?;
    container.until("it is not ready", |_| {
        ask(&admin, "GET /readyz", "").is_ok_and(|said| said.contains("503"))
    })?;
    stream.write_all(rest.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    expect("the request that was on its way", &answer, "HTTP/1.1 200")?;
    expect("the end", docker(&["wait", &container.name])?.trim(), "0")
}

fn expect(what: &str, found: &str, wanted: &str) -> Outcome {
    if found.contains(wanted) { Ok(()) } else { Err(format!("{what}: {found:?} has no {wanted:?}").into()) }
}

fn docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").args(arguments).output().map_err(|e| e.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(format!("docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn connect(address: &str) -> Outcome<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn head(request: &str, length: usize) -> String {
    format!(
        "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
}

/// The whole answer.
fn ask(address: &str, request: &str, body: &str) -> Outcome<String> {
    let mut stream = connect(address)?;
    write!(stream, "{}{body}", head(request, body.len()))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// An image; dropping it removes it.
struct Image(String);

impl Image {
    /// No registry has to answer: the stage that compiles is left out, and the C library is that of this machine.
    fn build() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("out/var/lib/fstore"))?;
        fs::create_dir_all(at("files/etc/fstore"))?;
        fs::copy(program::fstore(), at("out/fstore"))?;
        fs::write(at("files/etc/fstore/fstore.yaml"), SETTINGS)?;
        let libraries = Command::new("ldd").arg(program::fstore()).output()?;
        let libraries = String::from_utf8_lossy(&libraries.stdout).into_owned();
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            let copy = at("files").join(library.trim_start_matches('/'));
            fs::create_dir_all(copy.parent().unwrap_or(Path::new("/")))?;
            fs::copy(library, copy)?;
        }
        let last = DOCKERFILE.split("\nFROM ").last().and_then(|stage| stage.split_once('\n'));
        let (base, stage) = last.ok_or("the Dockerfile has no stage")?;
        expect("the base", base, "nonroot")?;
        let stage = stage.replace("--from=build ", "").replace(" /out/", " out/");
        fs::write(at("Dockerfile"), format!("FROM scratch\nCOPY files /\n{stage}"))?;
        let image = Self(format!("fstore-test:{}", std::process::id()));
        docker(&["build", "--quiet", "--tag", &image.0, &folder.path().display().to_string()])?;
        Ok(image)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // What cannot be removed does no harm.
        let _ = docker(&["rmi", "--force", &self.0]);
    }
}

/// A container; dropping it removes it and its volume.
struct Container {
    name: String,
}

impl Container {
    fn run(image: &Image) -> Outcome<Self> {
        let name = format!("fstore-test-{}", std::process::id());
        let secure = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
        let ports = ["--publish", "127.0.0.1::6566", "--publish", "127.0.0.1::6567"];
        let start = ["run", "--detach", "--name", &name, "--health-interval", "1s"];
        docker(&[&start[..], &secure, &ports, &[&image.0]].concat())?;
        Ok(Self { name })
    }

    fn inspect(&self, format: &str) -> Outcome<String> {
        Ok(docker(&["inspect", "--format", format, &self.name])?)
    }

    /// Where a port of it is reached.
    fn address(&self, port: u16) -> Outcome<String> {
        Ok(docker(&["port", &self.name, &port.to_string()])?)
    }

    fn until(&self, what: &str, is: impl Fn(&Self) -> bool) -> Outcome {
        let start = Instant::now();
        while !is(self) {
            if start.elapsed() > PATIENCE {
                let log = docker(&["logs", &self.name]).unwrap_or_default();
                let health = self.inspect("{{json .State}}").unwrap_or_default();
                return Err(format!("{what} did not come about: {health}\n{log}").into());
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = docker(&["rm", "--force", "--volumes", &self.name]);
    }
}
