//! The code that is generated from the files in `proto/` is that of the files, and what a released version
//! says is still understood. No `protoc` is needed, neither here nor to build.
#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet, field_descriptor_proto::Label};

const FILES: [&str; 2] = ["fstore/v1/feature_store.proto", "feast/serving/ServingService.proto"];
const BLESS: &str = "run `FSTORE_BLESS=1 cargo test -p feature-server --test proto`";

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn compiled(comments: bool) -> FileDescriptorSet {
    let mut compiler = protox::Compiler::new([here("proto")]).unwrap();
    compiler.include_imports(true).include_source_info(comments);
    compiler.open_files(FILES).unwrap();
    compiler.file_descriptor_set()
}

/// What is generated, by its path.
fn generated() -> BTreeMap<PathBuf, Vec<u8>> {
    use prost::Message;
    let out = tempfile::tempdir().unwrap();
    let mut config = prost_build::Config::new();
    config.out_dir(out.path()).btree_map(["."]);
    config.compile_fds(compiled(true)).unwrap();
    let mut files = BTreeMap::new();
    for name in ["fstore.v1.rs", "feast.serving.rs", "feast.types.rs"] {
        files.insert(here("src/grpc/proto").join(name), std::fs::read(out.path().join(name)).unwrap());
    }
    files.insert(here("src/grpc/proto/descriptors.bin"), compiled(false).encode_to_vec());
    files
}

#[test]
fn generated_code_is_up_to_date() {
    for (path, content) in generated() {
        if std::env::var_os("FSTORE_BLESS").is_some() {
            std::fs::write(&path, content).unwrap();
        } else {
            let committed = std::fs::read(&path).unwrap_or_default();
            assert!(committed == content, "{} is not what proto/ says: {BLESS}", path.display());
        }
    }
}

/// What a client of the protocol relies on: a line for each field, enumerator and method.
fn surface(set: &FileDescriptorSet) -> Vec<String> {
    let mut lines = Vec::new();
    for file in &set.file {
        let package = file.package();
        if package.starts_with("google.") {
            continue;
        }
        for message in &file.message_type {
            of_message(&mut lines, package, message);
        }
        for enumeration in &file.enum_type {
            of_enum(&mut lines, package, enumeration);
        }
        for service in &file.service {
            for method in &service.method {
                let stream = |streams| if streams { "stream " } else { "" };
                lines.push(format!(
                    "rpc {package}.{}/{} {}{} -> {}{}",
                    service.name(),
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type(),
                    stream(method.server_streaming()),
                    method.output_type()
                ));
            }
        }
    }
    lines.sort();
    lines
}

fn of_message(lines: &mut Vec<String>, within: &str, message: &DescriptorProto) {
    let name = format!("{within}.{}", message.name());
    for field in &message.field {
        let many = if field.label() == Label::Repeated { "repeated " } else { "" };
        let kind = match field.type_name() {
            "" => format!("{:?}", field.r#type()).to_lowercase(),
            named => named.to_owned(),
        };
        let one_of = match (field.oneof_index, field.proto3_optional()) {
            (_, true) => " optional".to_owned(),
            (Some(at), false) => format!(" of {}", message.oneof_decl[at as usize].name()),
            (None, false) => String::new(),
        };
        lines.push(format!("field {name} {} {} {many}{kind}{one_of}", field.number(), field.name()));
    }
    for nested in &message.nested_type {
        of_message(lines, &name, nested);
    }
    for nested in &message.enum_type {
        of_enum(lines, &name, nested);
    }
}

fn of_enum(lines: &mut Vec<String>, within: &str, enumeration: &EnumDescriptorProto) {
    for value in &enumeration.value {
        lines.push(format!("enum {within}.{} {} {}", enumeration.name(), value.number(), value.name()));
    }
}

/// What `released` has and `now` has not, or not as it was.
fn broken<'r>(released: &'r str, now: &[String]) -> Vec<&'r str> {
    let is_line = |line: &&str| !line.is_empty() && !line.starts_with('#');
    released.lines().filter(is_line).filter(|line| !now.iter().any(|own| own == line)).collect()
}

#[test]
fn nothing_that_was_released_is_gone_or_different() {
    let path = here("proto/released.txt");
    let now = surface(&compiled(false));
    if std::env::var_os("FSTORE_BLESS").is_some_and(|what| what == "release") {
        let head = "# What the last released version of the protocols has. Written when a version is released, with\n\
                    # `FSTORE_BLESS=release cargo test -p feature-server --test proto`; a change of the protocols that is not\n\
                    # yet released does not touch it.\n";
        std::fs::write(&path, format!("{head}{}\n", now.join("\n"))).unwrap();
    }
    let released = std::fs::read_to_string(&path).unwrap();
    let broken = broken(&released, &now);
    assert!(
        broken.is_empty(),
        "clients of the released version would break: leave these as they were, or reserve the number and take a \
         new one\n{}",
        broken.join("\n")
    );
}

#[test]
fn removed_renumbered_and_retyped_parts_are_found() {
    let released = surface(&compiled(false)).join("\n");
    let find = |change: &dyn Fn(&mut FileDescriptorSet)| {
        let mut set = compiled(false);
        change(&mut set);
        broken(&released, &surface(&set)).len()
    };
    let own =
        |set: &FileDescriptorSet| set.file.iter().position(|file| file.package() == "fstore.v1").unwrap();
    assert_eq!(find(&|_| {}), 0);
    for change in [
        &(|file: &mut prost_types::FileDescriptorProto| drop(file.message_type[0].field.remove(1)))
            as &dyn Fn(&mut prost_types::FileDescriptorProto),
        &|file| file.message_type[0].field[0].number = Some(99),
        &|file| file.message_type[0].field[0].r#type = Some(5),
        &|file| drop(file.enum_type[0].value.remove(1)),
        &|file| drop(file.service[0].method.remove(0)),
        &|file| file.service[0].method[0].server_streaming = Some(true),
    ] {
        let found = find(&|set| {
            let at = own(set);
            change(&mut set.file[at]);
        });
        assert_eq!(found, 1);
    }
    let added = find(&|set| {
        let at = own(set);
        let mut field = set.file[at].message_type[0].field[0].clone();
        (field.number, field.name) = (Some(99), Some("added".to_owned()));
        set.file[at].message_type[0].field.push(field);
    });
    assert_eq!(added, 0);
}
