//! What each command does and refuses.
