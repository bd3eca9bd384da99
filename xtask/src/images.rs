//! `cargo xtask images`: images of servers, made from the programs of this machine.
//!
//! Where no registry answers, the tests' way through Docker is exercised all the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::process::{Result, output, run as run_program};
use crate::servers::{AEROSPIKE, ALL, Server, docker_answers, image_exists, program, pulled};

/// A namespace in memory, as the tests expect it, alone in its cluster.
const AEROSPIKE_CONFIGURATION: &str = "\
service {
    cluster-name fstore
    proto-fd-max 1024
    work-directory /data
}
mod-lua {
    user-path /data/usr/udf/lua
}
logging {
    console {
        context any info
    }
}
network {
    service {
        address any
        port 3000
    }
    fabric {
        address any
        port 3001
    }
    heartbeat {
        mode mesh
        address local
        port 3002
        interval 150
        timeout 10
    }
}
namespace features {
    replication-factor 1
    nsup-period 1
    storage-engine memory {
        data-size 1G
    }
}
";

/// Makes an image of each server that has neither one here nor one in a registry.
pub(crate) fn run() -> Result<ExitCode> {
    if !docker_answers() {
        return Err("Docker does not answer: start it, or let the tests use servers of this machine".into());
    }
    for server in ALL {
        let (name, image) = (server.name, server.local_image);
        if image_exists(image) {
            println!("{name}: {image} is here; remove it with `docker rmi {image}` to have it made again");
        } else if let Some(official) = pulled(&server) {
            println!("{name}: {official} comes from a registry, none has to be made");
        } else if let Some(program) = program(&server) {
            make(&server, &program)?;
            println!("{name}: {image}, made from {}", program.display());
        } else {
            println!("{name}: no {} on the PATH to make an image from", server.program);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the server's local image: its program, the libraries that it loads, and nothing else.
///
/// # Errors
/// When the program's libraries cannot be found out, or Docker does not build the image.
pub(crate) fn make(server: &Server, program: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let files = folder.path().join("files");
    copy(program, &files.join("usr/bin").join(server.program))?;
    let libraries = libraries(&output(Command::new("ldd").arg(program))?);
    for library in &libraries {
        copy(library, &files.join(library.strip_prefix("/")?))?;
    }
    // Where servers write; Aerospike wants to find its folders.
    for folder in ["tmp", "data/smd", "data/usr/udf/lua"] {
        fs::create_dir_all(files.join(folder))?;
    }
    if server.program == AEROSPIKE.program {
        fs::create_dir_all(files.join("etc"))?;
        fs::write(files.join("etc/aerospike.conf"), AEROSPIKE_CONFIGURATION)?;
    }
    fs::write(folder.path().join("Dockerfile"), dockerfile(server))?;
    let mut docker = Command::new("docker");
    run_program(docker.args(["build", "--quiet", "--tag", server.local_image]).arg(folder.path()))
}

fn dockerfile(server: &Server) -> String {
    let (port, arguments): (u16, &[&str]) = if server.program == AEROSPIKE.program {
        (3000, &["--foreground", "--config-file", "/etc/aerospike.conf"])
    } else {
        let open = ["--bind", "0.0.0.0", "--protected-mode", "no"];
        let memory_alone = ["--save", "", "--appendonly", "no"];
        (6379, &[open, memory_alone].concat())
    };
    let program = format!("/usr/bin/{}", server.program);
    let command = std::iter::once(program.as_str()).chain(arguments.iter().copied());
    let command: Vec<_> = command.map(|word| format!("\"{word}\"")).collect();
    format!(
        "FROM scratch\n\
         LABEL org.opencontainers.image.title=\"{image}\"\n\
         LABEL org.opencontainers.image.description=\"{name} of the machine that made this image, for tests\"\n\
         COPY files /\n\
         WORKDIR /data\n\
         EXPOSE {port}\n\
         CMD [{command}]\n",
        image = server.local_image,
        name = server.name,
        command = command.join(", "),
    )
}

/// The files in the output of `ldd`: `name => /path (address)`, or `/path (address)` for the loader.
fn libraries(ldd: &str) -> Vec<PathBuf> {
    ldd.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// Copies a file, following links, and makes the folders above it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).map_err(|e| format!("{} cannot be copied: {e}", from.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::{REDIS, VALKEY};

    #[test]
    fn libraries_are_read_from_what_ldd_prints() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f01)\n\
            \tlibgone.so => not found\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f02)\n";
        let expected = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(libraries(ldd), expected);
    }

    #[test]
    fn an_image_starts_its_server_for_everyone_and_keeps_nothing() {
        let redis = dockerfile(&REDIS);
        assert!(redis.contains("EXPOSE 6379"), "{redis}");
        assert!(
            redis.ends_with(
                "CMD [\"/usr/bin/redis-server\", \"--bind\", \"0.0.0.0\", \"--protected-mode\", \"no\", \
                 \"--save\", \"\", \"--appendonly\", \"no\"]\n"
            ),
            "{redis}"
        );
        assert!(dockerfile(&VALKEY).contains("CMD [\"/usr/bin/valkey-server\", \"--bind\""));
        assert!(dockerfile(&AEROSPIKE).contains("\"/usr/bin/asd\", \"--foreground\""));
    }
}
