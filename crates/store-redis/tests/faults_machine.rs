//! What happens to the machine of a server: its disk is full, its clock jumps.

mod common;
mod harm;
mod private;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use common::{VIEW, entity, read, write};
use feature_core::{Clock, ErrorKind, ManualClock, OnlineStore, SystemClock, Ttl};
use harm::{RECOVERY, SLACK};
use store_redis::RedisOnlineStore;
use store_testkit::load::{Load, LoadPlan};
use store_testkit::servers::{RedisOptions, Server};
use store_testkit::{ServerTests, TestFailure};
use tokio::time::{Instant, sleep};

type Outcome = Result<(), TestFailure>;

const FULL: &str = "a_server_with_a_full_disk_refuses_writes_and_goes_on_reading";
const FULL_ALWAYS: &str = "a_server_that_ends_at_a_full_disk_has_kept_what_it_acknowledged";

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test(FULL, || private::run(FULL, async || full_disk("everysec").await))
        .test(FULL_ALWAYS, || private::run(FULL_ALWAYS, async || full_disk("always").await))
        .test("a_jump_of_the_servers_clock_makes_no_expired_record_present", clock_jump)
        .run()
}

/// In a mount namespace of its own, with a disk that only the server has.
async fn full_disk(fsync: &str) -> Outcome {
    let folder = tempfile::tempdir()?;
    let disk = folder.path().display().to_string();
    private::mount(&["-t", "tmpfs", "-o", "size=64m", "none", &disk])?;
    let options = RedisOptions { appendonly: true, ..RedisOptions::default() };
    let options =
        options.with(["--dir", &disk, "--appendfsync", fsync, "--auto-aof-rewrite-percentage", "0"]);
    let server = Server::start_redis(&options).await?;
    let store = common::open(server.url()).await?;
    write(&store, 1, 1).await?;
    let plan = LoadPlan { rest: Duration::from_millis(10), ..LoadPlan::default() };
    let load = Load::start(&store, "load", plan)?;
    load.wait_for_success(RECOVERY).await?;
    let filler = folder.path().join("filler");
    // Whatever it holds is nothing but in the way.
    let _ = fs::write(&filler, vec![0; 80 << 20]);
    let ends = fsync == "always";
    if ends {
        load.wait_for_error(&[ErrorKind::Unavailable], RECOVERY).await?;
        fs::remove_file(&filler)?;
        server.restart().await?;
    } else {
        load.wait_for_error(&[ErrorKind::Throttled], RECOVERY).await?;
        let error = write(&store, 1, 2).await.err().ok_or("a server with a full disk has taken a write")?;
        if error.kind() != ErrorKind::Throttled || error.in_doubt() {
            return Err(format!("not the error of a full disk: {error:?}").into());
        }
        if read(&store, 1).await? != Some(1) {
            return Err("a refused write has changed the record".into());
        }
        fs::remove_file(&filler)?;
    }
    load.wait_for_success(RECOVERY).await?;
    let report = load.stop().await;
    report.sound(SLACK)?;
    say(&format!("a full disk, appendfsync {fsync}: {}", report.writes()));
    // What it took while it could not write, it has in memory, and writes as soon as it can.
    let start = Instant::now();
    while !server.command(&["INFO", "persistence"]).await?.text().contains("aof_buffer_length:0\r\n") {
        if start.elapsed() > RECOVERY {
            return Err("the server does not write its file".into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    server.restart().await?;
    Ok(report.verify(&store).await?.sound()?)
}

/// Shows a program a time that is so many seconds away from the real one as the file says.
const OTHER_TIME: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long offset(void) {
    char text[32] = {0};
    int file = open(getenv("OTHER_TIME"), O_RDONLY);
    if (file < 0) return 0;
    long length = read(file, text, 31);
    close(file);
    return length > 0 ? atol(text) : 0;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += offset();
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"#;

/// Compiles a library of that.
fn other_time(folder: &Path) -> Result<PathBuf, TestFailure> {
    let (source, library) = (folder.join("other_time.c"), folder.join("other_time.so"));
    fs::write(&source, OTHER_TIME)?;
    let compiler = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).output();
    match compiler {
        Ok(output) if output.status.success() => Ok(library),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
        Err(error) => Err(TestFailure::unavailable(format!("no C compiler: {error}")).of("partitions")),
    }
}

/// Opens the server's store for a client with a clock of its own.
async fn open_at(url: &str, clock: Arc<dyn Clock>) -> Result<OnlineStore, TestFailure> {
    let backend = Arc::new(RedisOnlineStore::open(url).await?);
    Ok(OnlineStore::builder(backend).clock(clock).build()?)
}

async fn clock_jump() -> Outcome {
    let folder = tempfile::tempdir()?;
    let library = other_time(folder.path())?;
    let (time, program) = (folder.path().join("time"), folder.path().join("redis-server"));
    let set = |offset: &str| fs::write(&time, offset);
    set("0")?;
    let script = format!(
        "#!/bin/sh\nOTHER_TIME={} LD_PRELOAD={} exec redis-server \"$@\"\n",
        time.display(),
        library.display()
    );
    fs::write(&program, script)?;
    private::executable(&program)?;
    let program = program.display().to_string();
    let server = Server::start_redis(&RedisOptions { program, ..RedisOptions::default() }).await?;
    let now = SystemClock.now();
    let clock = Arc::new(ManualClock::at(now));
    let store = open_at(server.url(), clock.clone()).await?;
    let ttls = [None, Some(600), Some(7_200)];
    let put = async |value: i64| {
        for (number, ttl) in ttls.iter().enumerate() {
            let ttl = ttl.map(Ttl::from_secs);
            store.write_features("acme", VIEW, &entity(number)?, [("orders", value)], None, ttl).await?;
        }
        Ok::<_, feature_core::Error>(())
    };
    let all = async || {
        let mut found = Vec::new();
        for number in 0..ttls.len() {
            found.push(read(&store, number).await?);
        }
        Ok::<_, feature_core::Error>(found)
    };
    let is = |what: &str, found: Vec<Option<i64>>, expected: [Option<i64>; 3]| match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: {found:?}, not {expected:?}")),
    };
    put(1).await?;
    is("at first", all().await?, [Some(1); 3])?;
    // The server frees what it takes for expired: missing, never wrong.
    set("3600")?;
    is("an hour ahead", all().await?, [Some(1), None, Some(1)])?;
    put(2).await?;
    is("written an hour ahead", all().await?, [Some(2); 3])?;
    // It keeps for longer what has expired, and the store does not serve it.
    set("-3600")?;
    is("an hour behind", all().await?, [Some(2); 3])?;
    let told =
        server.command(&["TIME"]).await?.items().first().and_then(|now| now.text().parse::<i64>().ok());
    let expected = SystemClock.now().as_micros() / 1_000_000 - 3_600;
    if told.is_none_or(|told| (told - expected).abs() >= 600) {
        return Err(format!("the server's clock did not jump: {told:?}, not {expected}").into());
    }
    clock.advance(Duration::from_secs(601));
    is("an hour behind, a TTL later", all().await?, [Some(2), None, Some(2)])?;
    let key = format!("feast:acme:{VIEW}:customer_id=1");
    match server.command(&["EXISTS", &key]).await?.to_string().as_str() {
        "1" => Ok(()),
        _ => Err("the server has freed the record, so that the store's own clock was not needed".into()),
    }
}

#[expect(clippy::print_stdout, reason = "what was seen is for whoever reads the run")]
fn say(line: &str) {
    println!("{line}");
}
