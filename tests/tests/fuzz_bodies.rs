//! The fuzz targets' properties on a stable toolchain: over their seeds, over mutations of those, and over
//! random bytes. `FSTORE_FUZZ_SEED` repeats a run, `FSTORE_FUZZ_RUNS` makes it longer.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "every function here is a test's"
)]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use fastrand::Rng;
use fstore_tests::fuzz::{Body, bodies, body};

/// How many inputs each target is given besides its seeds.
const RUNS: u64 = 70_000;

/// The seeds of a target, in the same order on every machine.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Changes an input a little.
fn mutate(rng: &mut Rng, data: &mut Vec<u8>, others: &[Vec<u8>]) {
    let at = rng.usize(..=data.len());
    match rng.u8(..7) {
        0 => data.insert(at, rng.u8(..)),
        1 => data.truncate(at),
        2 => data.rotate_left(at),
        3 => {
            let other = rng.choice(others).unwrap();
            data.splice(at.., other[rng.usize(..=other.len())..].iter().copied());
        }
        4 => data.extend_from_within(at..),
        kind => {
            if let Some(byte) = data.get_mut(at) {
                *byte = if kind == 5 {
                    *byte ^ 1 << rng.u8(..8)
                } else {
                    *rng.choice(b"\x00\x01\x7f\x80\xff%:|={}@/[]?&").unwrap()
                };
            }
        }
    }
}

fn check(body: Body, data: &[u8], origin: &str) {
    if catch_unwind(|| body(data)).is_err() {
        panic!("{origin}: the property does not hold for {} ({data:02x?})", data.escape_ascii());
    }
}

fn run(target: &str) {
    let body = body(target).unwrap();
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "fuzz/seeds/{target} is empty");
    for seed in &seeds {
        check(body, seed, "a seed");
    }
    let seed = number("FSTORE_FUZZ_SEED").unwrap_or_else(|| Rng::new().u64(..));
    println!("FSTORE_FUZZ_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    for _ in 0..number("FSTORE_FUZZ_RUNS").unwrap_or(RUNS) {
        let mut data = if rng.u8(..8) == 0 {
            let length = rng.usize(..96);
            std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
        } else {
            rng.choice(&seeds).unwrap().clone()
        };
        for _ in 0..rng.usize(1..6) {
            mutate(&mut rng, &mut data, &seeds);
        }
        check(body, &data, &format!("FSTORE_FUZZ_SEED={seed}"));
    }
}

#[test]
fn codec() {
    run("codec");
}

#[test]
fn keys() {
    run("keys");
}

#[test]
fn urls() {
    run("urls");
}

#[test]
fn server_arrow() {
    run("server_arrow");
}

#[test]
fn server_feast() {
    run("server_feast");
}

#[test]
fn server_grpc() {
    run("server_grpc");
}

#[test]
fn server_json() {
    run("server_json");
}

#[test]
fn each_target_has_a_body_and_the_reverse() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut targets: Vec<_> =
        files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    targets.sort();
    let mut bodies: Vec<_> = bodies().map(|(name, _)| name).collect();
    bodies.sort_unstable();
    assert_eq!(targets, bodies);
}
