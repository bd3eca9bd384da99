//! The settings file of `--config`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use feature_core::SystemClock;
use store_unified::{Settings, SettingsFormat, SettingsReader, UnifiedFeatureStore};

use crate::exit::{Failure, Result, say};
use crate::stores::{self, Missing};

/// Reads a settings file. Every mistake in it is shown.
pub(crate) fn load(file: &Path) -> Result<Settings> {
    let text = fs::read_to_string(file)
        .map_err(|e| Failure::Usage(format!("cannot read the settings file {}: {e}", file.display())))?;
    let reader = SettingsReader::new(SettingsFormat::of(file)).check_urls(&stores::check);
    reader.read(&text).map_err(|problems| {
        for problem in problems.iter() {
            say(format_args!("{}:{}: {problem}", file.display(), problem.line));
        }
        let (number, file) = (problems.iter().count(), file.display());
        let mistakes = if number == 1 { "mistake" } else { "mistakes" };
        Failure::Usage(format!("{number} {mistakes} in the settings file {file}"))
    })
}

/// Connects to the stores of a settings file. An embedded store that is not there is made, since the file
/// names it on purpose.
pub(crate) async fn open(settings: &Settings) -> Result<UnifiedFeatureStore> {
    let connect = async |entry: &store_unified::StoreEntry| {
        stores::connect_to(&entry.url, Missing::Create, Arc::new(SystemClock)).await
    };
    settings.open(connect, SystemClock).await
}
