//! The settings file of `--config`.

use std::fs;
use std::path::Path;

use feature_server::settings::ServerSettings;
use feature_store::unified::{Problems, Settings, SettingsFormat, SettingsReader};
use feature_store::{Connector, UnifiedFeatureStore};

use crate::exit::{Failure, Result, say};

/// Reads a settings file. Every mistake in it is shown, on a line of its own.
pub(crate) fn load(file: &Path) -> Result<Settings> {
    load_all(file).map(|(settings, _)| settings)
}

/// The same, with what it says of the server.
pub(crate) fn load_all(file: &Path) -> Result<(Settings, ServerSettings)> {
    read(file)?.map_err(|problems| {
        for problem in problems.iter() {
            say(format_args!("{}:{}: {problem}", file.display(), problem.line));
        }
        let (number, file) = (problems.iter().count(), file.display());
        let mistakes = if number == 1 { "mistake" } else { "mistakes" };
        Failure::Usage(format!("{number} {mistakes} in the settings file {file}"))
    })
}

/// The same, or every mistake in it, for a log.
pub(crate) fn read(file: &Path) -> Result<Result<(Settings, ServerSettings), Problems>> {
    let text = fs::read_to_string(file)
        .map_err(|e| Failure::Usage(format!("cannot read the settings file {}: {e}", file.display())))?;
    let connector = Connector::new();
    let check = |url: &_| connector.check(url);
    let reader = SettingsReader::new(SettingsFormat::of(file)).check_urls(&check);
    Ok(feature_server::settings::read(&reader, &text))
}

/// Connects to the stores of a settings file. An embedded store that is not there is made, since the file
/// names it on purpose.
pub(crate) async fn open(settings: &Settings) -> Result<UnifiedFeatureStore> {
    Ok(Connector::new().open_described(settings).await?)
}
