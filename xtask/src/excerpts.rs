//! The proof that the code of the Rust guide is code that is compiled and run: each of its blocks stands, line for line,
//! in an example or in a README, which are tests.

use std::fs;

use crate::links::documents;
use crate::process::{Result, root};

const GUIDE: &str = "docs/rust.md";
const EXAMPLES: &str = "crates/feature-store/examples";

/// Checks each block of the guide.
///
/// # Errors
/// Each block that stands nowhere else.
pub(crate) fn check() -> Result<()> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(root().join(EXAMPLES))? {
        sources.push(fs::read_to_string(entry?.path())?);
    }
    for document in documents(&root().join("crates"))? {
        sources.push(blocks(&fs::read_to_string(document)?).concat());
    }
    let sources: Vec<String> = sources.iter().map(|source| trimmed(source)).collect();
    let guide = fs::read_to_string(root().join(GUIDE))?;
    let strange = blocks(&guide).into_iter().filter(|block| {
        let block = trimmed(block);
        !sources.iter().any(|source| source.contains(&block))
    });
    let wrong: Vec<String> = strange.map(|block| format!("{GUIDE}: no test runs\n{block}")).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// The blocks of Rust of a document.
fn blocks(document: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let (mut inside, mut rust) = (false, false);
    for line in document.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            inside = !inside;
            rust = inside && language.split(',').next() == Some("rust");
            if rust {
                blocks.push(String::new());
            }
        } else if let (true, Some(block)) = (rust, blocks.last_mut()) {
            block.push_str(line);
            block.push('\n');
        }
    }
    blocks
}

/// Lines of code, wherever they begin and however far apart they are; each is whole.
fn trimmed(code: &str) -> String {
    let lines = code.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.fold("\n".to_owned(), |code, line| code + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_of_rust_are_code() {
        let document =
            "a\n```rust,no_run\nlet a;\n```\nb\n```toml\n[a]\n```\n```rust\nlet b;\n\nlet c;\n```\n";
        assert_eq!(blocks(document), ["let a;\n", "let b;\n\nlet c;\n"]);
    }

    #[test]
    fn an_excerpt_has_whole_lines_that_follow_each_other() {
        let source = trimmed("fn main() {\n    let a = 1;\n\n    let b = 12;\n}\n");
        for (excerpt, is_one) in [
            ("let a = 1;\nlet b = 12;", true),
            ("    let b = 12;\n}", true),
            ("let b = 1", false),
            ("let b = 12;\nlet a = 1;", false),
        ] {
            assert_eq!(source.contains(&trimmed(excerpt)), is_one, "{excerpt}");
        }
    }

    #[test]
    fn the_guide_shows_what_tests_run() {
        check().unwrap();
    }
}
