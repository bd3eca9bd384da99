//! The conformance suite, on Valkey.

mod suite;

use std::process::ExitCode;

use store_testkit::servers::{Server, Software};

fn main() -> ExitCode {
    suite::run("valkey", || async {
        let server = Server::get(Software::Valkey).await?;
        Ok((server.url().to_owned(), server.how().to_owned(), Box::new(server) as _))
    })
}
