//! The conformance suite, on a server that is a process of this machine.

mod suite;

use std::process::ExitCode;

use store_testkit::servers::{RedisOptions, Server};

fn main() -> ExitCode {
    suite::run("redis", || async {
        let server = Server::start_redis(&RedisOptions::default()).await?;
        Ok((server.url().to_owned(), server.how().to_owned(), Box::new(server) as _))
    })
}
