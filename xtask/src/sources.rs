//! Where the servers that tests use come from.
//!
//! This only makes sure that there is something to start; the launcher in `store-testkit` starts it, when
//! the first test asks for it.

use std::path::{Path, PathBuf};

use crate::process::{Result, find, metadata};
use crate::servers::{ALL, Server, docker_answers, image_exists, program, pulled};
use crate::{images, python};

/// How tests will get a server.
enum Source {
    Address,
    Image(String),
    Program(PathBuf),
}

/// Finds or makes a source of every server that the workspace's tests use, and says which. Gives the
/// environment variables that tell the tests. A server that cannot be had fails nothing: its tests are
/// ignored, and this says so.
///
/// # Errors
/// When the workspace cannot be read.
pub(crate) fn prepare() -> Result<Vec<(&'static str, String)>> {
    let metadata = metadata(&["--no-deps"])?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let packages: Vec<&str> = packages.filter_map(|package| package["name"].as_str()).collect();
    let mut variables = Vec::new();
    for server in ALL {
        if !server.users.iter().any(|user| packages.contains(user)) {
            continue;
        }
        let source = source(&server);
        match &source {
            Some(Source::Address) => println!("{}: at the address in {}", server.name, server.url_variable),
            Some(Source::Image(image)) => {
                println!("{}: a container of {image}", server.name);
                variables.push((server.image_variable, image.clone()));
            }
            Some(Source::Program(program)) => {
                println!("{}: {}", server.name, program.display());
                if find(server.program).is_none() {
                    variables.extend(path_with(program.parent()));
                }
            }
            None => println!(
                "{name}: none. Tests that need it will be ignored. To have them run, set {url} to the address \
                 of a server, or start Docker, or put {program} on the PATH.",
                name = server.name,
                url = server.url_variable,
                program = server.program,
            ),
        }
        if server.harmed && !matches!(source, Some(Source::Program(_)) | None) {
            match program(&server) {
                Some(program) => println!("{}: tests that do harm start {}", server.name, program.display()),
                None => println!(
                    "{}: tests that do harm will be ignored, for there is no {} on the PATH",
                    server.name, server.program
                ),
            }
        }
    }
    if packages.contains(&"fstore-tests") {
        variables.extend(feast()?);
    }
    Ok(variables)
}

/// A Python with Feast's SDK.
fn feast() -> Result<Option<(&'static str, String)>> {
    if let Ok(python) = std::env::var(python::FEAST_VARIABLE) {
        println!("Feast: that of {python}");
        return Ok(None);
    }
    let why = match python::Environment::get() {
        Ok(environment) if environment.has_feast() => {
            let python = environment.program("python").display().to_string();
            println!("Feast: that of {python}");
            return Ok(Some((python::FEAST_VARIABLE, python)));
        }
        Ok(_) => "pip does not install it".to_owned(),
        Err(why) => why.to_string(),
    };
    println!(
        "Feast: none: {why}. The tests that use its SDK will be ignored. To have them run, set {} to a Python that has it.",
        python::FEAST_VARIABLE
    );
    Ok(None)
}

fn source(server: &Server) -> Option<Source> {
    if std::env::var_os(server.url_variable).is_some() {
        return Some(Source::Address);
    }
    if docker_answers()
        && let Some(image) = image(server)
    {
        return Some(Source::Image(image));
    }
    program(server).map(Source::Program)
}

/// An image of the server: the one that the environment names, one that is here, one from a registry, or
/// one made here.
fn image(server: &Server) -> Option<String> {
    if let Ok(image) = std::env::var(server.image_variable) {
        return Some(image);
    }
    let here = [server.local_image, server.official_image].into_iter().find(|image| image_exists(image));
    if let Some(image) = here.or_else(|| pulled(server)) {
        return Some(image.to_owned());
    }
    match images::make(server, &program(server)?) {
        Ok(()) => Some(server.local_image.to_owned()),
        Err(error) => {
            eprintln!("{}: no image could be made: {error}", server.name);
            None
        }
    }
}

/// The PATH with one more folder.
fn path_with(folder: Option<&Path>) -> Option<(&'static str, String)> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).chain(folder.map(Path::to_path_buf));
    Some(("PATH", std::env::join_paths(folders).ok()?.into_string().ok()?))
}
