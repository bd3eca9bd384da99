//! The conformance suite, on Valkey.

mod suite;

use std::process::ExitCode;

use store_testkit::servers::{RedisOptions, Server};

fn main() -> ExitCode {
    suite::run(|| async {
        let options = RedisOptions { program: "valkey-server".to_owned(), ..RedisOptions::default() };
        let server = Server::start_redis(&options).await?;
        Ok((server.url().to_owned(), server.how().to_owned(), Box::new(server) as _))
    })
}
