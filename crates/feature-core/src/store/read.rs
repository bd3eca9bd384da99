//! Reads.

use std::sync::Arc;
use std::time::Duration;

use super::{BatchRows, Distinct, OnlineStore, RequestInfo};
use crate::entity::EntityKey;
use crate::error::{Error, Result};
use crate::key::ViewKey;
use crate::names::FeatureNames;
use crate::row::{FeatureRow, FeatureSink, RowDecoder, RowPlace, Rows};

/// One view's part of a read of several views.
#[derive(Clone, Copy, Debug)]
pub struct ViewRead<'a> {
    /// The feature view's name.
    pub feature_view: &'a str,
    /// The entities, in any order, repeated or not.
    pub entity_keys: &'a [EntityKey],
    /// The features wanted; `None` is all. Who asks for the same again and again should keep their names.
    pub feature_names: Option<&'a Arc<FeatureNames>>,
}

impl OnlineStore {
    /// Reads features of one entity; `None` is all features. `Ok(None)` when there is no record.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty name, or one that a declared view does not have; what the backend
    /// reports; `DeadlineExceeded`; `Corrupt`.
    pub async fn read_features(
        &self,
        tenant_id: &str,
        feature_view: &str,
        entity_key: &EntityKey,
        feature_names: Option<&[&str]>,
    ) -> Result<Option<FeatureRow>> {
        let rows =
            self.batch_read(tenant_id, feature_view, std::slice::from_ref(entity_key), feature_names).await?;
        rows.into_iter().next().unwrap_or(Ok(None))
    }

    /// Reads features of several entities of one view, in one call on the backend. The result has a row
    /// for each key, in order; a repeated key is read once and given again.
    ///
    /// # Errors
    /// `InvalidArgument`, as for [`read_features`](Self::read_features). Everything else is the error of
    /// its row.
    pub async fn batch_read(
        &self,
        tenant_id: &str,
        feature_view: &str,
        entity_keys: &[EntityKey],
        feature_names: Option<&[&str]>,
    ) -> Result<BatchRows> {
        let feature_names = feature_names.map(|names| Arc::new(names.iter().collect()));
        let read = ViewRead { feature_view, entity_keys, feature_names: feature_names.as_ref() };
        Ok(self.read_views(tenant_id, &[read]).await?.pop().unwrap_or_default())
    }

    /// Reads features of several views, in one call on the backend however many views there are. The
    /// result has the rows of each [`ViewRead`], in order.
    ///
    /// # Errors
    /// `InvalidArgument`, as for [`read_features`](Self::read_features). Everything else is the error of
    /// its row.
    pub async fn read_views(&self, tenant_id: &str, reads: &[ViewRead<'_>]) -> Result<Vec<BatchRows>> {
        let rows = reads.iter().map(|read| read.entity_keys.len()).sum();
        let work = self.read_rows(tenant_id, reads, rows);
        let Some(observer) = &self.observer else { return work.await };
        let feature_view = if let [read] = reads { Some(read.feature_view) } else { None };
        observer.read(RequestInfo { tenant_id, feature_view, rows }, Box::pin(work)).await
    }

    async fn read_rows(
        &self,
        tenant_id: &str,
        reads: &[ViewRead<'_>],
        rows: usize,
    ) -> Result<Vec<BatchRows>> {
        let mut found = Rows::with_capacity(rows);
        self.read_into(tenant_id, reads, &mut found).await?;
        let mut found = found.finish(reads.iter().flat_map(|read| read.entity_keys));
        Ok(reads.iter().map(|read| found.by_ref().take(read.entity_keys.len()).collect()).collect())
    }

    /// As [`read_views`](Self::read_views), for what puts features elsewhere than into rows. The handle's
    /// observer is not told.
    ///
    /// # Errors
    /// As [`read_views`](Self::read_views); the errors of rows are handed over like their features.
    pub async fn read_into(
        &self,
        tenant_id: &str,
        reads: &[ViewRead<'_>],
        to: &mut impl FeatureSink,
    ) -> Result<()> {
        let rows = reads.iter().map(|read| read.entity_keys.len()).sum();
        let mut distinct = Distinct::with_capacity(rows);
        let mut keys = Vec::with_capacity(rows);
        let mut places: Vec<Result<usize>> = Vec::with_capacity(rows);
        let mut views: Vec<ViewKey> = Vec::with_capacity(reads.len());
        let mut decoders = Vec::with_capacity(reads.len());
        for read in reads {
            let view = self.view_key(tenant_id, read.feature_view).map_err(|e| self.error("read", e))?;
            decoders.push(self.decoder(read.feature_view, read.feature_names)?);
            // A view that is asked for twice is one view.
            let number = views.iter().position(|earlier| *earlier == view).unwrap_or(views.len());
            if number == views.len() {
                views.push(view.clone());
            }
            places.extend(read.entity_keys.iter().map(|entity| {
                let key = self.key(&view, entity)?;
                let place = distinct.number((number, entity));
                if place == keys.len() {
                    keys.push(key);
                }
                Ok(place)
            }));
        }

        let call = self.call();
        let mut records = Vec::with_capacity(keys.len());
        for keys in keys.chunks(self.max_batch_rows()) {
            match self.within(call, self.shared.backend.get(keys, call)).await {
                Some(rows) => records.extend(self.counted("read", rows, keys.len(), false)),
                None => records.extend(keys.iter().map(|_| Err(self.out_of_time("read")))),
            }
        }

        let now = self.shared.clock.now();
        let mut places = places.into_iter();
        for (view, (read, mut decoder)) in reads.iter().zip(decoders).enumerate() {
            for (row, place) in places.by_ref().take(read.entity_keys.len()).enumerate() {
                let at = RowPlace { view, row };
                let decoded = place.and_then(|place| {
                    let decoded = match &records[place] {
                        Ok(Some(record)) => decoder.decode_into(to, at, &record.bytes, now),
                        Ok(None) => Ok(false),
                        Err(error) => Err(error.clone()),
                    };
                    decoded.map_err(|error| error.with_record(keys[place].clone()))
                });
                match decoded {
                    Ok(true) => {}
                    Ok(false) => to.absent(at),
                    Err(error) => to.failed(at, self.error("read", error)),
                }
            }
            self.shared.layouts.learn(read.feature_view, &decoder);
        }
        Ok(())
    }

    fn decoder(&self, feature_view: &str, feature_names: Option<&Arc<FeatureNames>>) -> Result<RowDecoder> {
        let max_age = self.max_age_of(feature_view);
        let decoder =
            RowDecoder::knowing(&self.shared.layouts, feature_view, feature_names.cloned(), max_age);
        match feature_names {
            // What has been read before has been found to be right.
            Some(names) if !decoder.has_begun() => {
                if names.iter().any(str::is_empty) {
                    let error = Error::invalid_argument("a requested feature has an empty name");
                    return Err(self.error("read", error));
                }
                if let Some(view) = self.view(feature_view) {
                    view.check_names(names.iter()).map_err(|e| self.error("read", e))?;
                }
            }
            _ => {}
        }
        Ok(decoder)
    }

    /// The shorter of the view's and the handle's max age.
    pub(super) fn max_age_of(&self, feature_view: &str) -> Option<Duration> {
        let own = self.view(feature_view).and_then(|view| view.max_age);
        own.into_iter().chain(self.max_age).min()
    }
}
