//! The rows to which a batch of charges is added.

use rustc_hash::FxHashMap;
use sqlx::AnyConnection;

use super::latencies::{self, HOURS_KEPT_US};
use super::names::{Name, Names};
use super::pair::Pair;
use super::sums::{Cell, Sums, add};
use super::width::Width;
use super::{Charge, DETAILS_KEY, Dimension, MINUTES_KEPT_US, MIXES_KEY, PAIRS_KEY, SUMS_KEY};

/// The account, the minute and the values of dimensions that charges of the same rows have in common.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    account: Name,
    minute_us: i64,
    all: Name,
    model: Name,
    provider: Name,
    key: Name,
    user: Name,
    app: Name,
}

impl Place {
    fn of<'a>(charge: &'a Charge<'_>, names: &mut Names<'a>) -> Self {
        let mut value = |dimension| names.number(charge.value(dimension));
        Self {
            minute_us: Width::Minute.floor_us(charge.usage.admitted_at_us),
            all: value(Dimension::All),
            model: value(Dimension::Model),
            provider: value(Dimension::Provider),
            key: value(Dimension::Key),
            user: value(Dimension::User),
            app: value(Dimension::App),
            account: names.number(charge.account),
        }
    }

    const fn value(&self, dimension: Dimension) -> Cell {
        Cell::Text(match dimension {
            Dimension::All => self.all,
            Dimension::Model => self.model,
            Dimension::Provider => self.provider,
            Dimension::Key => self.key,
            Dimension::User => self.user,
            Dimension::App => self.app,
        })
    }
}

/// The sums that are added, by the keys of their rows.
#[derive(Default)]
struct Rows {
    sums: FxHashMap<[Cell; 5], Sums>,
    pairs: FxHashMap<[Cell; 6], Sums>,
    mixes: FxHashMap<[Cell; 7], Sums>,
    details: FxHashMap<[Cell; 8], Sums>,
}

impl Rows {
    fn add(&mut self, place: &Place, width: Width, added: &Sums) {
        let (account, code, start) = (Cell::Text(place.account), Cell::Number(width.code()), Cell::Number(width.floor_us(place.minute_us)));
        for dimension in Dimension::ALL.into_iter().filter(|dimension| dimension.has_sums(width)) {
            let key = [account, code, Cell::Number(dimension.code()), start, place.value(dimension)];
            self.sums.entry(key).or_default().add(added);
        }
        let [model, provider, key, user, app] = [Dimension::Model, Dimension::Provider, Dimension::Key, Dimension::User, Dimension::App]
            .map(|dimension| place.value(dimension));
        if matches!(width, Width::Day | Width::Month) {
            for pair in Pair::ALL {
                let key = [account, code, Cell::Number(pair.code()), start, place.value(pair.first), place.value(pair.second)];
                self.pairs.entry(key).or_default().add(added);
            }
            self.mixes.entry([account, code, start, model, key, provider, app]).or_default().add(added);
        }
        if matches!(width, Width::Minute | Width::Hour | Width::Day) {
            self.details.entry([account, code, start, user, model, provider, key, app]).or_default().add(added);
        }
    }

    async fn write(self, connection: &mut AnyConnection, names: &Names<'_>) -> Result<(), sqlx::Error> {
        let places = names.places();
        let names = (names, &places);
        add(connection, "usage_sums", SUMS_KEY, self.sums, names).await?;
        add(connection, "usage_pairs", PAIRS_KEY, self.pairs, names).await?;
        add(connection, "usage_mixes", MIXES_KEY, self.mixes, names).await?;
        add(connection, "usage_details", DETAILS_KEY, self.details, names).await
    }
}

/// Adds charges to all sums; those of minutes only from a time on.
pub(super) async fn write(connection: &mut AnyConnection, charges: &[Charge<'_>], minutes_us: i64) -> Result<(), sqlx::Error> {
    let (mut names, mut latencies) = (Names::default(), latencies::Added::default());
    // A place has dozens of rows, so charges are summed by place first.
    let mut places: FxHashMap<Place, Sums> = FxHashMap::default();
    for charge in charges {
        latencies.count(charge.account, &charge.usage);
        places.entry(Place::of(charge, &mut names)).or_default().add(&Sums::of(&charge.usage));
    }
    let mut rows = Rows::default();
    for (place, added) in &places {
        for width in Width::ALL {
            if width != Width::Minute || place.minute_us >= minutes_us {
                rows.add(place, width, added);
            }
        }
    }
    latencies.write(connection, minutes_us + MINUTES_KEPT_US - HOURS_KEPT_US).await?;
    rows.write(connection, &names).await
}
