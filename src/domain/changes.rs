//! The change log and the version gate.
//!
//! Every write raises the version register in the last statement before its commit and appends what it changed to the
//! log, so versions are gapless and in commit order. A read asks the gate first: the version it learns was read by a
//! SELECT that started after the read began. What was stored under a version holds until a later change touches it. What
//! others changed is read from the log, what this process changed it knows.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::sql_types::{self, Array, Jsonb, Nullable, Text};
use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, NullableExpressionMethods, QueryDsl, QueryResult, Queryable,
    Selectable, SelectableHelper,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};
use tracing::Instrument;
use uuid::Uuid;

use crate::config::Freshness;
use crate::domain::catalog::touch::{Interest, Sight};
use crate::domain::error::Error;
use crate::domain::ids::{UserId, text_enum};
use crate::domain::json::Json;
use crate::domain::reads::{Moment, Token};
use crate::domain::transaction::Transaction;
use crate::infra::Infra;
use crate::infra::db::Bare;
use crate::infra::schema::{catalog_version, changes};
use crate::infra::telemetry;

/// Changes that the process remembers; an answer older than all of them is read anew.
const REMEMBERED: usize = 20_000;
/// Bytes, about, of what those changed of which it remembers that: the latest ones.
const MAX_DETAILS: usize = 4 * 1024 * 1024;
/// Changes that are read at once with what they changed; of more it is not asked.
const DETAILED: usize = 500;
/// Changes that are held against one answer; one that more of them might touch is read anew.
const MAX_LOOKED_AT: usize = 1_000;
/// Longest wait for the version.
const PATIENCE: Duration = Duration::from_secs(2);

/// A state of the database: all writes up to this one.
pub type Version = i64;

text_enum! {
    /// What a change is about.
    Entity {
        Product = "PRODUCT",
        Category = "CATEGORY",
        User = "USER",
        Session = "SESSION",
        ApiKey = "API_KEY",
    }
}

text_enum! {
    /// What happened to it.
    Kind {
        Created = "CREATED",
        Updated = "UPDATED",
        Deleted = "DELETED",
        /// To any number of them.
        Bulk = "BULK",
    }
}

/// One change, as a command reports it.
pub struct Change {
    pub entity: Entity,
    pub kind: Kind,
    /// `None` for [`Kind::Bulk`] alone.
    pub id: Option<Uuid>,
    /// All that a filter, a sort or an audit can see of it, before and after.
    before: Option<Json>,
    after: Option<Json>,
    sight: Option<Sight>,
}

/// What a change can be of.
pub trait Subject: Serialize {
    /// What lists can see of a change of it.
    fn sight(_before: Option<&Self>, _after: Option<&Self>) -> Option<Sight> {
        None
    }
}

impl Subject for serde_json::Value {}

impl Change {
    /// Something new.
    pub fn created(entity: Entity, id: Uuid, after: &impl Subject) -> Self {
        Self::of(entity, Kind::Created, id, None, Some(after))
    }

    /// Something that is other than before.
    pub fn updated<S: Subject>(entity: Entity, id: Uuid, before: &S, after: &S) -> Self {
        Self::of(entity, Kind::Updated, id, Some(before), Some(after))
    }

    /// Something that is no more.
    pub fn deleted(entity: Entity, id: Uuid, before: &impl Subject) -> Self {
        Self::of(entity, Kind::Deleted, id, Some(before), None)
    }

    /// Many at once.
    pub fn bulk(entity: Entity) -> Self {
        Self { entity, kind: Kind::Bulk, id: None, before: None, after: None, sight: None }
    }

    fn of<S: Subject>(entity: Entity, kind: Kind, id: Uuid, before: Option<&S>, after: Option<&S>) -> Self {
        let json = |side: Option<&S>| side.and_then(|value| Json::of(value).ok());
        let sight = S::sight(before, after);
        Self { entity, kind, id: Some(id), before: json(before), after: json(after), sight }
    }
}

/// Raises the version and appends these changes: the last statement of a transaction.
pub async fn record(
    transaction: &mut Transaction,
    actor: Option<UserId>,
    happened: Vec<Change>,
) -> QueryResult<Version> {
    let (mut entities, mut kinds, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    let (mut befores, mut afters, mut noted) = (Vec::new(), Vec::new(), Vec::new());
    for Change { entity, kind, id, before, after, sight } in happened {
        entities.push(entity.as_str());
        kinds.push(kind.as_str());
        ids.push(id);
        befores.push(before);
        afters.push(after);
        noted.push((entity, id, sight));
    }
    // The register's row stays locked until the commit: versions become visible in order.
    let recorded = record_changes(entities, kinds, ids, befores, afters, actor.map(|actor| actor.0));
    let version = diesel::select(recorded).get_result(&mut **transaction).await?;
    let noted = noted.into_iter().map(|(entity, id, sight)| Noted::new(version, entity, id).with_sight(sight));
    transaction.recorded.push((version, noted.collect()));
    Ok(version)
}

diesel::define_sql_function! {
    fn record_changes(
        entities: Array<Text>,
        kinds: Array<Text>,
        ids: Array<Nullable<sql_types::Uuid>>,
        befores: Array<Nullable<Jsonb>>,
        afters: Array<Nullable<Jsonb>>,
        actor: Nullable<sql_types::Uuid>,
    ) -> BigInt;
}

diesel::define_sql_function! {
    fn pg_is_in_recovery() -> Bool;
}

/// The version that is seen on this connection, and whether it is one to a replica.
pub async fn seen_on(connection: &mut AsyncPgConnection) -> QueryResult<(Version, bool)> {
    catalog_version::table.select((catalog_version::v, pg_is_in_recovery())).get_result(connection).await
}

/// A place in the log: the version, and the change in it.
pub type Place = (Version, i32);

/// One change, as the log keeps it.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = changes)]
pub struct Logged {
    pub v: Version,
    pub n: i32,
    pub entity: Entity,
    pub entity_id: Option<Uuid>,
    pub before: Option<serde_json::Value>,
    pub after: Option<serde_json::Value>,
    pub at: DateTime<Utc>,
}

impl Logged {
    /// Where it stands.
    pub fn place(&self) -> Place {
        (self.v, self.n)
    }
}

/// The first changes after a place, in order.
pub async fn logged_after(
    connection: &mut AsyncPgConnection,
    (version, n): Place,
    limit: i64,
) -> QueryResult<Vec<Logged>> {
    changes::table
        .filter(changes::v.gt(version).or(changes::v.eq(version).and(changes::n.gt(n))))
        .order((changes::v, changes::n))
        .limit(limit)
        .select(Logged::as_select())
        .load(connection)
        .await
}

/// What happened to something of some kinds.
#[derive(Clone, Debug, Queryable)]
pub struct Happened {
    pub entity: Entity,
    pub id: Option<Uuid>,
    pub before: Option<serde_json::Value>,
    pub after: Option<serde_json::Value>,
}

/// The version, and all changes of these kinds after another one: of one snapshot.
pub async fn of_kinds_after(
    connection: &mut AsyncPgConnection,
    kinds: &[Entity],
    after: Version,
) -> QueryResult<(Version, Vec<Happened>)> {
    let change = (changes::entity, changes::entity_id, changes::before, changes::after);
    let rows: Vec<(Version, Option<Happened>)> = catalog_version::table
        .left_join(changes::table.on(changes::v.gt(after).and(changes::entity.eq_any(kinds))))
        .order((changes::v, changes::n))
        .select((catalog_version::v, change.nullable()))
        .load(connection)
        .await?;
    let version = rows.as_slice().first().map_or(0, |(version, _)| *version);
    Ok((version, rows.into_iter().filter_map(|(_, happened)| happened).collect()))
}

/// Forgets the oldest changes as far as they were made before a moment, `most` at once. Returns how many it were.
pub async fn prune(connection: &mut AsyncPgConnection, before: DateTime<Utc>, most: i64) -> QueryResult<usize> {
    let oldest = changes::table.order((changes::v, changes::n)).limit(most).select((changes::v, changes::at));
    let oldest: Vec<(Version, DateTime<Utc>)> = oldest.load(connection).await?;
    // A version goes as a whole, so that what is left begins with one.
    let Some(last) = oldest.iter().rev().find(|(_, at)| *at < before).map(|(version, _)| *version) else {
        return Ok(0);
    };
    diesel::delete(changes::table.filter(changes::v.le(last))).execute(connection).await
}

/// What an answer depended on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dependencies {
    /// Any change of these.
    pub kinds: Vec<Entity>,
    /// Changes of these alone.
    pub entities: Vec<(Entity, Uuid)>,
    /// Changes that these find to touch them.
    pub interests: Vec<Interest>,
}

impl Dependencies {
    /// On every one of these kinds.
    pub fn on_all(kinds: &[Entity]) -> Self {
        Self { kinds: kinds.to_vec(), ..Self::default() }
    }

    /// On this one alone.
    pub fn on_one(entity: Entity, id: Uuid) -> Self {
        Self { entities: vec![(entity, id)], ..Self::default() }
    }

    /// On whatever this says.
    pub fn on(interest: Interest) -> Self {
        Self { interests: vec![interest], ..Self::default() }
    }

    /// Also on these.
    pub fn add(&mut self, others: &Self) {
        self.kinds.extend(others.kinds.iter().filter(|kind| !self.kinds.contains(kind)).collect::<Vec<_>>());
        self.entities.extend(&others.entities);
        self.interests.extend(others.interests.iter().cloned());
    }
}

/// A change as the process remembers it.
#[derive(Debug)]
pub struct Noted {
    version: Version,
    entity: Entity,
    /// `None`: any number of them.
    id: Option<Uuid>,
    /// What it changed, as far as that is remembered.
    sight: Option<Sight>,
}

impl Noted {
    /// A change of which no more is known.
    pub fn new(version: Version, entity: Entity, id: Option<Uuid>) -> Self {
        Self { version, entity, id, sight: None }
    }

    /// The same with what it changed.
    pub fn with_sight(self, sight: Option<Sight>) -> Self {
        Self { sight, ..self }
    }

    /// That which the change made.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What it changed of which, as far as that is remembered.
    pub fn seen(&self) -> Option<(Uuid, &Sight)> {
        self.id.zip(self.sight.as_ref())
    }

    /// Whether it may make another answer of what depends on this.
    pub fn touches(&self, interest: &Interest) -> bool {
        interest.is_touched_by(self.entity, self.id, self.sight.as_ref())
    }

    fn bytes(&self) -> usize {
        self.sight.as_ref().map_or(0, Sight::bytes)
    }
}

/// The part of the log that the process has seen.
#[derive(Debug, Default)]
pub struct Log {
    /// Everything up to here was seen.
    version: Version,
    /// How often the database went back in time.
    life: u32,
    /// Everything after this is remembered.
    since: Version,
    recent: VecDeque<Arc<Noted>>,
    /// How many of the first of them have no sight any more, and the bytes of the others.
    blind: usize,
    bytes: usize,
    last_of_kind: HashMap<Entity, Version>,
    last_of_all: HashMap<Entity, Version>,
    last_of_one: HashMap<(Entity, Uuid), Version>,
}

impl Log {
    /// A log that begins to remember after this version.
    pub fn starting_at(version: Version) -> Self {
        Self { version, since: version, ..Self::default() }
    }

    /// The latest version seen.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Takes note of a change.
    pub fn append(&mut self, change: Noted) {
        let Noted { version, entity, id, .. } = change;
        self.version = self.version.max(version);
        self.last_of_kind.insert(entity, version);
        match id {
            Some(id) => self.last_of_one.insert((entity, id), version),
            None => self.last_of_all.insert(entity, version),
        };
        self.bytes += change.bytes();
        self.recent.push_back(Arc::new(change));
        while self.bytes > MAX_DETAILS
            && let Some(oldest) = self.recent.get_mut(self.blind)
        {
            self.bytes -= oldest.bytes();
            *oldest = Arc::new(Noted::new(oldest.version, oldest.entity, oldest.id));
            self.blind += 1;
        }
        while self.recent.len() > REMEMBERED
            && let Some(forgotten) = self.recent.pop_front()
        {
            self.bytes -= forgotten.bytes();
            self.blind = self.blind.saturating_sub(1);
            self.since = self.since.max(forgotten.version);
            if let Some(id) = forgotten.id
                && self.last_of_one.get(&(forgotten.entity, id)) == Some(&forgotten.version)
            {
                self.last_of_one.remove(&(forgotten.entity, id));
            }
        }
    }

    /// Whether what was read at `read_at` is known to hold still; nothing is known of a version that was not seen.
    pub fn untouched(&self, dependencies: &Dependencies, read_at: Version) -> bool {
        self.to_look_at(dependencies, read_at).is_some_and(|changes| are_apart(&changes, dependencies))
    }

    /// The changes that may touch what was read at `read_at`; `None` if that is known of one, or too little is known.
    fn to_look_at(&self, dependencies: &Dependencies, read_at: Version) -> Option<Vec<Arc<Noted>>> {
        let not_after = |touched: Option<&Version>| touched.is_none_or(|&touched| touched <= read_at);
        let holds = (self.since..=self.version).contains(&read_at)
            && dependencies.kinds.iter().all(|kind| not_after(self.last_of_kind.get(kind)))
            && dependencies.entities.iter().all(|(kind, id)| {
                not_after(self.last_of_all.get(kind)) && not_after(self.last_of_one.get(&(*kind, *id)))
            });
        if !holds {
            return None;
        }
        if dependencies.interests.is_empty() || self.last_of_kind.values().all(|last| *last <= read_at) {
            return Some(Vec::new());
        }
        let after = self.recent.partition_point(|change| change.version <= read_at);
        (self.recent.len() - after <= MAX_LOOKED_AT).then(|| self.recent.range(after..).cloned().collect())
    }
}

/// Whether none of the changes touches what was read.
fn are_apart(changes: &[Arc<Noted>], dependencies: &Dependencies) -> bool {
    changes.iter().all(|change| !dependencies.interests.iter().any(|interest| change.touches(interest)))
}

/// Tells every reader a version that is not older than its question.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

struct Shared {
    infra: Arc<Infra>,
    freshness: Freshness,
    log: RwLock<Log>,
    history: RwLock<Uuid>,
    waiting: Mutex<Vec<Waiting>>,
    someone_waits: Notify,
    /// When the SELECT that gave the latest version started.
    seen_at: RwLock<Option<Instant>>,
}

/// Somebody who waits for the version.
struct Waiting {
    since: Instant,
    told: oneshot::Sender<Result<Version, Error>>,
}

impl Gate {
    /// Starts the task that reads the register; it ends with the gate.
    pub fn start(infra: Arc<Infra>, freshness: Freshness) -> Self {
        let shared = Arc::new(Shared {
            infra,
            freshness,
            log: RwLock::default(),
            history: RwLock::default(),
            waiting: Mutex::default(),
            someone_waits: Notify::new(),
            seen_at: RwLock::default(),
        });
        let reader = Arc::downgrade(&shared);
        tokio::spawn(async move {
            let mut connection = None;
            while let Some(shared) = reader.upgrade() {
                let idle = tokio::time::timeout(Duration::from_secs(1), shared.someone_waits.notified()).await;
                if idle.is_ok() {
                    // Whoever is about to ask asks before the SELECT starts, and shares it.
                    tokio::task::yield_now().await;
                    shared.answer_all(&mut connection).await;
                }
            }
        });
        Self { shared }
    }

    /// The version now: read by a SELECT that starts after this call, and is shared with all that ask meanwhile.
    ///
    /// # Errors
    /// When the register cannot be read.
    pub async fn version(&self) -> Result<Version, Error> {
        if let Freshness::Bounded(bound) = self.shared.freshness
            && let Some(age) = read(&self.shared.seen_at).map(|seen_at| seen_at.elapsed())
            && age < bound
        {
            if age > bound / 2 {
                // So that nobody need wait later.
                self.shared.someone_waits.notify_one();
            }
            return Ok(read(&self.shared.log).version);
        }
        self.latest().await
    }

    /// This moment, whose version is not older than one that was seen.
    ///
    /// # Errors
    /// When the register cannot be read.
    pub async fn moment_since(&self, seen: Option<Token>) -> Result<Moment, Error> {
        let version = self.version().await?;
        match seen {
            Some(seen) if seen.version > version && seen.history == self.history() => self.now().await,
            _ => Ok(Moment { version, life: self.life() }),
        }
    }

    /// What shows from now on that everything up to now was seen.
    ///
    /// # Errors
    /// When the register cannot be read.
    pub async fn token(&self) -> Result<Token, Error> {
        let version = self.latest().await?;
        Ok(Token { history: self.history(), version })
    }

    /// This moment, whatever freshness is configured.
    ///
    /// # Errors
    /// When the register cannot be read.
    pub async fn now(&self) -> Result<Moment, Error> {
        Ok(Moment { version: self.latest().await?, life: self.life() })
    }

    /// The version now, whatever freshness is configured.
    ///
    /// # Errors
    /// When the register cannot be read.
    pub async fn latest(&self) -> Result<Version, Error> {
        let (told, answer) = oneshot::channel();
        self.shared.waiting().push(Waiting { since: Instant::now(), told });
        self.shared.someone_waits.notify_one();
        let span = telemetry::call("postgresql", || "version".to_owned());
        answer.instrument(span).await.map_err(Error::unavailable)?
    }

    /// Up to which version what was read at `read_at` is known to hold, if that is as fresh as whoever asked when it was
    /// `asked_at` may want.
    pub fn holds(&self, dependencies: &Dependencies, read_at: Version, asked_at: Version) -> Option<Version> {
        if read_at >= asked_at { Some(read_at) } else { self.untouched(dependencies, read_at) }
    }

    /// The latest version seen, if what was read at `read_at` is known to hold there.
    pub fn untouched(&self, dependencies: &Dependencies, read_at: Version) -> Option<Version> {
        let (version, changes) = self.since(dependencies, read_at)?;
        // The lock is not held while changes are looked at.
        are_apart(&changes, dependencies).then_some(version)
    }

    /// The latest version seen, and the changes until then that may touch what was read at `read_at`; `None` if it is known
    /// that one does, or too little.
    pub fn since(&self, dependencies: &Dependencies, read_at: Version) -> Option<(Version, Vec<Arc<Noted>>)> {
        let log = read(&self.shared.log);
        log.to_look_at(dependencies, read_at).map(|changes| (log.version, changes))
    }

    /// Takes note of what this process has committed, so that the register need not be asked what it was.
    pub fn note(&self, recorded: Vec<(Version, Vec<Noted>)>) {
        let mut log = write(&self.shared.log);
        for (version, changes) in recorded {
            // Else something is missing between, and is read with this.
            if version == log.version + 1 {
                for change in changes {
                    log.append(change);
                }
            }
        }
    }

    /// Which life of the database this is, to the process: entries of an earlier one are not its entries.
    pub fn life(&self) -> u32 {
        read(&self.shared.log).life
    }

    /// The name of this database's line of versions; known after the first [`Self::version`].
    pub fn history(&self) -> Uuid {
        *read(&self.shared.history)
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer_all(&self, connection: &mut Option<Register>) {
        // Taken before the SELECT starts: whoever comes later waits for the next one.
        let mut asked = std::mem::take(&mut *self.waiting());
        let started = Instant::now();
        let mut answer = self.ask_patiently(connection).await;
        if answer.is_err() && connection.take().is_some() && started.elapsed() < PATIENCE / 4 {
            // The connection may have died of old age: once more on a new one.
            answer = self.ask_patiently(connection).await;
        }
        match &answer {
            Ok(version) => {
                *write(&self.seen_at) = Some(started);
                self.infra.metrics.change_log_version.set(*version);
            }
            Err(error) => {
                *connection = None;
                // Nor is anybody to wait for two that fail.
                asked.append(&mut self.waiting());
                tracing::warn!(error = error as &dyn std::error::Error, "the version register cannot be read");
            }
        }
        let now = Instant::now();
        for Waiting { since, told } in asked {
            self.infra.metrics.gate_seconds.observe((now - since).as_secs_f64());
            let _ = told.send(answer.clone());
        }
    }

    async fn ask_patiently(&self, connection: &mut Option<Register>) -> Result<Version, Error> {
        let asked = tokio::time::timeout(PATIENCE, self.ask(connection)).await;
        asked.unwrap_or_else(|_| Err(Error::unavailable(anyhow::anyhow!("no answer in {PATIENCE:?}"))))
    }

    async fn ask(&self, connection: &mut Option<Register>) -> Result<Version, Error> {
        let register = match connection {
            Some(register) => register,
            none => none.insert(Register::open(&self.infra).await.map_err(Error::unavailable)?),
        };
        self.infra.metrics.gate_reads.inc();
        let first = read(&self.seen_at).is_none();
        if first {
            // What happened lately says which entries of a shared cache still hold.
            let (version, history) = register.name().await.map_err(Error::unavailable)?;
            *write(&self.history) = history;
            *write(&self.log) = Log::starting_at((version - i64::try_from(REMEMBERED / 4).unwrap_or(0)).max(0));
        }
        let since = read(&self.log).version;
        if !first && register.version().await.map_err(Error::unavailable)? == since {
            return Ok(since);
        }
        let mut news = register.news(since, DETAILED, true).await.map_err(Error::unavailable)?;
        if news.changes.len() > DETAILED {
            news = register.news(since, REMEMBERED, false).await.map_err(Error::unavailable)?;
        }
        let News { version, changes } = news;
        // What was pruned before this process saw it is missing here.
        let oldest = changes.as_slice().first().map(|change| change.version);
        let is_whole = version <= since || oldest == Some(since + 1);
        let mut log = write(&self.log);
        if version < since {
            tracing::warn!(from = since, to = version, "the database went back in time; nothing remembered counts");
            log.life += 1;
        }
        if changes.len() > REMEMBERED || version < since || !is_whole {
            // More than is remembered, or another life of the database: nothing older is known to hold.
            let kept_since = oldest.filter(|_| version >= since && changes.len() <= REMEMBERED);
            *log = Log { life: log.life, ..Log::starting_at(kept_since.map_or(version, |first| first - 1)) };
        }
        // Meanwhile the process may have noted what it committed.
        let noted = log.version;
        for change in changes.into_iter().filter(|change| change.version > noted && change.version <= version) {
            log.append(change);
        }
        log.version = log.version.max(version);
        Ok(version)
    }
}

/// A connection of its own on which the register is read.
struct Register {
    connection: Bare,
    version: tokio_postgres::Statement,
    news: tokio_postgres::Statement,
}

/// The register, beside the changes after some version: of one snapshot.
struct News {
    version: Version,
    changes: Vec<Noted>,
}

/// $1: the changes after this version. $2: how many, at most. $3: whether with what lists can see of them, as far as that
/// is not too much.
const NEWS: &str = "
    SELECT register.v, c.v, c.entity, c.entity_id,
        CASE WHEN c.is_told THEN (c.before - '{description,media}'::text[])::text END,
        CASE WHEN c.is_told THEN (c.after - '{description,media}'::text[])::text END,
        c.is_told AND (c.before -> 'description', c.before -> 'media')
            IS DISTINCT FROM (c.after -> 'description', c.after -> 'media')
    FROM catalog_version AS register
    LEFT JOIN LATERAL (
        SELECT v, n, entity, entity_id, before, after, $3 AND entity IN ('PRODUCT', 'CATEGORY')
            AND coalesce(pg_column_size(before), 0) + coalesce(pg_column_size(after), 0) < 16384 AS is_told
        FROM changes WHERE v > $1 ORDER BY v, n LIMIT $2
    ) AS c ON true
    ORDER BY c.v, c.n";

impl Register {
    async fn open(infra: &Infra) -> anyhow::Result<Self> {
        let mut connection = infra.db.bare().await?;
        let version = connection.ask(async |client| client.prepare("SELECT v FROM catalog_version").await).await?;
        let news = connection.ask(async |client| client.prepare(NEWS).await).await?;
        Ok(Self { connection, version, news })
    }

    /// The version alone, which most of the time is all that there is to know.
    async fn version(&mut self) -> anyhow::Result<Version> {
        let version = &self.version;
        let row = self.connection.ask(async |client| client.query_one(version, &[]).await).await?;
        Ok(row.try_get(0)?)
    }

    /// The version, and the name of this database's line of versions.
    async fn name(&mut self) -> anyhow::Result<(Version, Uuid)> {
        let row =
            self.connection.ask(async |client| client.query_one("SELECT v, history FROM catalog_version", &[]).await);
        let row = row.await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    }

    /// One change more than `most` if there are more.
    async fn news(&mut self, since: Version, most: usize, is_detailed: bool) -> anyhow::Result<News> {
        let (news, limit) = (&self.news, i64::try_from(most + 1).unwrap_or(i64::MAX));
        let rows =
            self.connection.ask(async |client| client.query(news, &[&since, &limit, &is_detailed]).await).await?;
        let version = rows.as_slice().first().map_or(Ok(since), |row| row.try_get(0))?;
        let mut changes = Vec::new();
        for row in &rows {
            let (Some(at), Some(entity)) = (row.try_get(1)?, row.try_get::<_, Option<&str>>(2)?) else { continue };
            let entity = Entity::parse(entity).ok_or_else(|| anyhow::anyhow!("unknown entity {entity}"))?;
            let sight = Sight::read(entity, row.try_get(4)?, row.try_get(5)?, row.try_get(6)?);
            changes.push(Noted::new(at, entity, row.try_get(3)?).with_sight(sight));
        }
        Ok(News { version, changes })
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
