//! Running `fstore` in a directory of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A directory in which `fstore` runs.
pub(crate) struct Shell(pub(crate) TempDir);

/// What a command said and how it ended.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Shell {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fstore"));
        command.current_dir(self.0.path()).args(arguments.split_whitespace());
        command.env_remove("FSTORE_URL").env_remove("FSTORE_CONFIG");
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command whose arguments hold no blanks.
    pub(crate) fn run(&self, arguments: &str) -> Said {
        Said::from(self.command(arguments).output().unwrap())
    }

    /// Runs a command that must succeed, and gives the JSON objects it wrote.
    pub(crate) fn objects(&self, arguments: &str) -> Vec<Value> {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments}: {}{}", said.out, said.err);
        said.objects()
    }
}

impl Said {
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
}

#[allow(dead_code, reason = "not every target has views")]
pub(crate) const VIEWS: &str = "
feature_views:
  - name: customers
    entities: [id]
    features: {visits: int64, score: float32, country: string}
    ttl: 7d
";
