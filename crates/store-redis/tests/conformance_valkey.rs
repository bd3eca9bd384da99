//! The conformance suite, on Valkey.

mod suite;

use std::process::ExitCode;

use store_testkit::servers::Server;

fn main() -> ExitCode {
    suite::run("valkey", || async {
        // The kit keeps it, and stops it at the end, which a container needs a runtime for.
        let server = Server::valkey().await?;
        Ok((server.url().to_owned(), server.how().to_owned(), Box::new(()) as _))
    })
}
