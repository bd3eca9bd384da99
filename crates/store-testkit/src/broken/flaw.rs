//! The mistakes.

/// A mistake that a backend can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// None: the store is as it should be.
    None,

    /// Every put is stored, whatever its precondition.
    IgnoresPreconditions,
    /// `NotNewerSameShape` looks at the time alone.
    IgnoresShape,
    /// `NotNewer` and `NotNewerSameShape` do not look at the time.
    LastArrivalWins,
    /// A put with exactly the stored record's time is refused.
    RefusesTies,
    /// `Unchanged` holds always.
    LosesConcurrentUpdates,
    /// A refused put is stored all the same.
    StoresWhatItRefuses,
    /// A refusal carries the record before the stored one, with the version of the stored one.
    CarriesAnOutdatedRecord,

    /// Event times are kept in seconds of 32 bits, and the rest of a second beside them.
    TimesInSeconds,
    /// Likewise, without a sign.
    TimesInUnsignedSeconds,
    /// Event times are compared as doubles.
    TimesAsDoubles,
    /// Event times are compared in milliseconds.
    TimesInMilliseconds,
    /// Event times before 1970 are the newest.
    TimesWithoutSign,
    /// Shapes are compared as doubles.
    ShapesAsDoubles,
    /// Shapes are compared in their low 32 bits.
    ShapesIn32Bits,
    /// Versions are compared as doubles.
    VersionsAsDoubles,
    /// Versions are compared in their low 32 bits.
    VersionsIn32Bits,
    /// A record that was deleted and written anew has the versions of before.
    ReusesVersionsAfterDelete,
    /// An instance counts its versions from 1.
    VersionsBeginAnew,

    /// A put removes the record first and writes it a moment later.
    WritesInTwoSteps,
    /// A put looks at the record, and writes it a moment later.
    ChecksThenActs,
    /// Some puts are acknowledged and not done.
    LosesWrites,

    /// When one put of a call is refused, all of them are.
    AllOrNothing,
    /// When one put of a call is refused, all rows of it fail.
    FailsAllForOne,
    /// Every put says that it is stored, refused or not.
    NeverSaysRefused,
    /// The outcomes of a call are each its neighbour's.
    ShiftsOutcomes,
    /// What comes after the first 1,000 rows of a call is stored whatever its precondition.
    ChecksTheFirstRowsOnly,
    /// What comes after the first 5,000 rows of a call is not done.
    CutsLargeBatches,
    /// A missing record is given as the one before it in the call.
    RepeatsThePreviousRow,
    /// Rows come in the order of their keys.
    AnswersInKeyOrder,
    /// Missing records are left out of the answer.
    LeavesMissingRowsOut,

    /// Tenant, view and entity are joined with `_`.
    JoinsNamesWithUnderscore,
    /// Names are put into keys as they are, so that separators in them separate.
    ForgetsToEscape,
    /// Keys are compared without regard to case.
    FoldsCase,
    /// Keys end at the first NUL or the last blank, as they do in some languages.
    TrimsKeys,
    /// The view is no part of the key.
    ForgetsTheView,
    /// Keys end after 255 bytes.
    CutsKeysAt255,
    /// Tenants end after 64 bytes.
    CutsTenantsAt64,
    /// Views end after 128 bytes.
    CutsViewsAt128,
    /// Entities end after 1,024 bytes.
    CutsEntitiesAt1024,
    /// Keys are kept as a hash of 32 bits.
    HashesKeysTo32Bits,

    /// Records end after 4 KiB.
    TruncatesRecords,
    /// Records of exactly a power of two lose their last byte.
    CutsAtPowersOfTwo,
    /// Records are kept as text.
    KeepsBytesAsText,
    /// Records end before the zeros at their end.
    TrimsZeros,
    /// Line ends of records are made those of the platform.
    TurnsLineEnds,

    /// A record that was read once is served for ever.
    ServesStaleReads,
    /// That there is no record is remembered for ever.
    CachesMisses,
    /// Reads are remembered, and deletes do not make them forgotten.
    CacheForgetsDeletes,
    /// Reads are remembered, and purges do not make them forgotten.
    CacheForgetsPurges,
    /// Reads are remembered, and what other instances do does not make them forgotten.
    CachesPrivately,

    /// A delete says what it should have done, and does nothing.
    OnlySaysItDeletes,
    /// A delete says that there was a record, whether there was or not.
    DeleteAlwaysTrue,

    /// Records go up to a minute early.
    ReclaimsEarly,
    /// Records go an hour early, as where a local time is taken for UTC.
    ReclaimsByLocalTime,
    /// TTLs are taken for a thousandth of what they are.
    TtlInMilliseconds,
    /// The TTL of the first put stays when later ones bring another.
    KeepsTheFirstTtl,
    /// A put without a TTL leaves the one of before.
    KeepsTheTtlWithoutOne,
    /// Records that should stay go after a day.
    HasADefaultTtl,

    /// A scan leaves its last record out.
    ScanMissesTheLast,
    /// A scan ends after 1,000 records.
    ScanEndsAtAThousand,
    /// A scan begins again when it is through.
    ScanNeverEnds,
    /// A scan gives everything whose key begins with the scope's name.
    ScanLeaksNeighbours,
    /// A scan goes on after the number of records that it has given, whatever went meanwhile.
    ScanCountsOff,
    /// A scan ends at the first record that has expired.
    ScanStopsAtTheExpired,
    /// A purge removes everything whose key begins with the scope's name.
    PurgesByNamePrefix,
    /// A purge removes everything whose key has the scope's name in it.
    PurgesBySubstring,
    /// A purge of a view removes the whole tenant.
    PurgesTheTenant,
    /// A purge counts and removes nothing.
    OnlySaysItPurges,
    /// A purge ends after 1,000 records.
    PurgeEndsAtAThousand,
    /// A purge counts one record less.
    PurgeCountsOneLess,
    /// What is written after a purge goes an hour later.
    PurgeTakesWhatComesLater,

    /// A record of the largest size loses its last byte.
    LosesTheLargestRecord,
    /// A record of the longest key is acknowledged and not stored.
    LosesTheLongestKey,
    /// A record of the longest TTL is acknowledged and not stored.
    LosesTheLongestTtl,
    /// The last row of the largest batch is acknowledged and not stored.
    LosesTheLastOfTheLargestBatch,

    /// A closed store goes on as before.
    CloseDoesNothing,
    /// A closed store is still read.
    CloseStopsWritesAlone,
    /// Closing an instance closes all.
    CloseClosesAll,
    /// A closed store has a task that runs on.
    LeaksATask,
    /// Closing an instance removes what it has stored.
    ForgetsAtClose,
}
