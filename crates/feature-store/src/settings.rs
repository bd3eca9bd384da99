//! From a settings file to the handle over its stores.

use std::fs;
use std::path::Path;

use feature_core::{Error, Result};
use store_unified::{Settings, SettingsFormat, SettingsReader, StoreEntry, UnifiedFeatureStore};

use crate::connector::Connector;

impl Connector {
    /// Reads a settings file and checks all of it, store URLs included, without connecting.
    ///
    /// # Errors
    /// `InvalidArgument` when the file cannot be read, and else with every mistake in it, with its line.
    pub fn read_settings(&self, file: impl AsRef<Path>) -> Result<Settings> {
        let file = file.as_ref();
        let name = file.display();
        let text = fs::read_to_string(file).map_err(|e| {
            Error::invalid_argument(format!("cannot read the settings file {name}: {e}")).with_source(e)
        })?;
        let check = |url: &_| self.check(url);
        let reader = SettingsReader::new(SettingsFormat::of(file)).check_urls(&check);
        reader.read(&text).map_err(|problems| {
            Error::invalid_argument(format!("the settings file {name} cannot be used: {problems}"))
        })
    }

    /// Connects to the stores that a settings file describes.
    ///
    /// # Errors
    /// As [`read_settings`](Self::read_settings); as [`connect_to`](Self::connect_to), for the first store
    /// that cannot be had: the others are closed again.
    pub async fn open_settings(&self, file: impl AsRef<Path>) -> Result<UnifiedFeatureStore> {
        let settings = self.read_settings(file)?;
        self.open_described(&settings).await
    }

    /// The same, with settings that have been read, or changed since.
    ///
    /// # Errors
    /// As [`Settings::open`].
    pub async fn open_described(&self, settings: &Settings) -> Result<UnifiedFeatureStore> {
        let connector = self.clone();
        // Neither this nor its futures borrow anything, or else the future of this method could not be sent
        // to another thread.
        let connect = move |entry: &StoreEntry| {
            let (connector, url) = (connector.clone(), entry.url.clone());
            async move { connector.connect_to(&url).await }
        };
        settings.open(connect, self.options().clock.clone()).await
    }
}
