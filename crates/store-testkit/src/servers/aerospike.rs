//! Aerospike servers as processes.

use std::fs;

use super::process::{Launch, folder, free_ports, program};
use super::{Held, Server, Software};

impl Server {
    pub(super) async fn start_aerospike() -> Result<Self, String> {
        let facts = Software::Aerospike.facts();
        let program = program(facts.program)?;
        let folder = folder()?;
        let [service, fabric, heartbeat] = free_ports()?;
        let failed = |e| format!("the server's folder cannot be filled: {e}");
        for part in ["smd", "usr/udf/lua"] {
            fs::create_dir_all(folder.path().join(part)).map_err(failed)?;
        }
        let path = folder.path().display();
        // The server reads its configuration line by line.
        let configuration = format!(
            "service {{
    cluster-name fstore
    proto-fd-max 1024
    work-directory {path}
}}
mod-lua {{
    user-path {path}/usr/udf/lua
}}
logging {{
    console {{
        context any info
    }}
}}
network {{
    service {{
        address 127.0.0.1
        port {service}
    }}
    fabric {{
        address 127.0.0.1
        port {fabric}
    }}
    heartbeat {{
        mode mesh
        address 127.0.0.1
        port {heartbeat}
        interval 150
        timeout 10
    }}
}}
namespace features {{
    replication-factor 1
    nsup-period 1
    storage-engine memory {{
        data-size 1G
    }}
}}
"
        );
        let file = folder.path().join("aerospike.conf");
        fs::write(&file, configuration).map_err(failed)?;
        let arguments =
            vec!["--foreground".to_owned(), "--config-file".to_owned(), file.display().to_string()];
        let launch = Launch { program, arguments, ready: facts.ready, folder };
        let how = launch.how();
        let held = Held::Process(launch.start().await?);
        Ok(Self { url: format!("{}://127.0.0.1:{service}", facts.scheme), how, held })
    }
}
