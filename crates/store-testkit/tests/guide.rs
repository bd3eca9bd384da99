//! The guide quotes the example as it is.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

const GUIDE: &str = include_str!("../../../docs/adding-a-backend.md");
const EXAMPLE: &str = include_str!("../src/map_store.rs");

/// The code blocks of a language. Those of `rs` are quotes of the example; those of `rust` are doctests.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_quote_of_the_example_occurs_in_it() {
    let quotes = blocks(GUIDE, "rs");
    assert!(quotes.len() >= 5, "the guide has {} quotes", quotes.len());
    for quote in quotes {
        assert!(EXAMPLE.contains(quote), "not in map_store.rs:\n{quote}");
    }
}

#[test]
fn the_guide_shows_every_method_of_the_contract() {
    let quotes = blocks(GUIDE, "rs").concat();
    for method in ["capabilities", "get", "put", "delete", "scan", "purge", "check", "close"] {
        assert!(quotes.contains(&format!("fn {method}(")), "{method}");
    }
}
