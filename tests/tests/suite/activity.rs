//! Activity through the front door: groups, filters, pages, tables, OpenRouter's and the SDKs' shapes, and erased users.

use std::collections::{BTreeMap, BTreeSet};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Row;
use tests::arouter::nanos;
use tests::load::read;
use tests::postgres::Postgres;
use tests::wait::until;
use tests::{Arouter, Provider, Storage};

const SECOND: &str = "[[models]]\nid = \"test/second\"\nprovider = \"test\"\nupstream_model = \"ok\"\nprompt_usd_per_mtok = \"0.7\"\ncompletion_usd_per_mtok = \"3.1\"\ncontext_length = 100000\n";

/// Requests of several models, keys, users and applications; a user is a name or nothing.
const ASKED: [(&str, usize, &str, &str); 9] = [
    ("test/ok", 0, "alice", "shop"),
    ("test/ok", 0, "alice", "shop"),
    ("test/ok", 0, "bob", "desk"),
    ("test/ok", 1, "alice", ""),
    ("test/ok", 1, "", "desk"),
    ("test/second", 0, "alice", "shop"),
    ("test/second", 0, "bob", ""),
    ("test/second", 1, "carol, \"c\" ä", "shop"),
    ("test/second", 1, "=cmd", "desk"),
];

struct World {
    arouter: Arouter,
    keys: Vec<String>,
    hashes: Vec<String>,
    _provider: Provider,
}

impl World {
    async fn start(storage: Storage) -> Self {
        let provider = Provider::start().await;
        let arouter = Arouter::start(storage, &format!("{}{SECOND}", provider.config())).await;
        let mut world = Self { arouter, keys: Vec::new(), hashes: Vec::new(), _provider: provider };
        for name in ["first", "second"] {
            let (_, made) =
                world.arouter.call(Method::POST, "/api/v1/keys", &world.arouter.keys.management_key, Some(json!({"name": name}))).await;
            world.keys.push(made["key"].as_str().expect("a key").to_owned());
            world.hashes.push(made["data"]["hash"].as_str().expect("a hash").to_owned());
        }
        for asked in ASKED {
            world.ask(asked).await;
        }
        world.counted(ASKED.len()).await;
        world
    }

    async fn ask(&self, (model, key, user, app): (&str, usize, &str, &str)) {
        let mut body = json!({"model": model, "messages": [{"role": "user", "content": "x"}]});
        if !user.is_empty() {
            body["user"] = json!(user);
        }
        let mut request = self.arouter.http.post(format!("{}/v1/chat/completions", self.arouter.base)).bearer_auth(&self.keys[key]);
        if !app.is_empty() {
            request = request.header("x-title", app);
        }
        let answer = request.body(body.to_string()).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    }

    /// Waits until both reports and books have so many requests.
    async fn counted(&self, count: usize) {
        self.arouter.usage(count).await;
        until("the sums", || async { (self.get("period=1d").await["totals"]["requests"] == json!(count)).then_some(()) }).await;
        until("the requests", || async { (self.csv("period=1d&format=csv&detail=true").await.len() == count + 1).then_some(()) }).await;
    }

    async fn get(&self, query: &str) -> Value {
        self.arouter.get(&format!("/api/v1/activity?{query}")).await
    }

    async fn status(&self, query: &str) -> (StatusCode, Value) {
        self.arouter.call(Method::GET, &format!("/api/v1/activity?{query}"), &self.arouter.keys.live_key, None).await
    }

    async fn text(&self, query: &str) -> String {
        String::from_utf8(self.bytes(query).await.into()).expect("text")
    }

    async fn bytes(&self, query: &str) -> bytes::Bytes {
        let url = format!("{}/api/v1/activity?{query}", self.arouter.base);
        let answer = self.arouter.http.get(url).bearer_auth(&self.arouter.keys.live_key).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{query}");
        assert!(answer.headers()["x-as-of"].to_str().is_ok_and(|as_of| as_of.contains("lag_ms=")));
        answer.bytes().await.expect("a whole answer")
    }

    /// Returns the lines of a table.
    async fn csv(&self, query: &str) -> Vec<String> {
        let text = self.text(query).await;
        assert!(text.ends_with("\r\n"));
        text.trim_end_matches("\r\n").split("\r\n").map(str::to_owned).collect()
    }

    async fn erase(&self, user: &str) -> Value {
        let path = format!("/api/v1/users/{user}");
        let (status, answer) = self.arouter.call(Method::DELETE, &path, &self.arouter.keys.management_key, None).await;
        assert_eq!((status, &answer["data"]["erased"]), (StatusCode::OK, &json!(true)), "{answer}");
        answer["data"]["token"].clone()
    }
}

/// Returns requests and spend by the text of a group, added up over all buckets.
fn by_group(body: &Value) -> BTreeMap<String, (i64, i64)> {
    let mut groups = BTreeMap::new();
    for row in body["data"].as_array().expect("rows").iter().filter(|row| row["requests"] != json!(0)) {
        let (requests, spend): &mut (i64, i64) = groups.entry(row["group"].as_str().expect("a group").to_owned()).or_default();
        *requests += row["requests"].as_i64().expect("a count");
        *spend += nanos(&row["spend_usd"]);
    }
    groups
}

/// Returns the requests by the text that a function makes of each request.
fn expected(of: impl Fn(&(&str, usize, &str, &str)) -> Option<String>) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for group in ASKED.iter().filter_map(of) {
        *counts.entry(group).or_default() += 1;
    }
    counts
}

fn counts(body: &Value) -> BTreeMap<String, i64> {
    by_group(body).into_iter().map(|(group, (requests, _))| (group, requests)).collect()
}

/// Asserts that histograms have every request once, and that their quantiles are the recorded times.
async fn assert_latencies(world: &World, period: &str) {
    let key = &world.arouter.keys.management_key;
    let recorded = world.arouter.recorded(events::subject::Stream::Usage).await;
    let path = format!("/api/v1/activity/latency?period={period}&group_by=provider");
    let (_, body) = world.arouter.call(Method::GET, &path, key, None).await;
    for (kind, member) in [("latency_ms", "latency_us"), ("ttft_ms", "ttft_us")] {
        let mut times: Vec<f64> = recorded.iter().filter_map(|event| event["data"][member].as_f64()).map(|us| us / 1e3).collect();
        times.sort_by(f64::total_cmp);
        for (name, percent) in [("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99)] {
            let exact = times[(times.len() * percent).div_ceil(100) - 1];
            let shown = body["data"][0][kind][name].as_f64().expect("a time");
            // A bucket is a sixteenth of a power of two wide, and its middle is shown.
            assert!((shown - exact).abs() <= exact / 32.0 + 0.001, "{period} {kind} {name}: {shown} for {exact}");
        }
    }
    let of = async |query: &str| {
        let path = format!("/api/v1/activity/latency?period={period}&{query}");
        let (status, body) = world.arouter.call(Method::GET, &path, key, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        for row in body["data"].as_array().expect("rows") {
            for kind in ["latency_ms", "ttft_ms"] {
                let [p50, p90, p95, p99] = ["p50", "p90", "p95", "p99"].map(|name| row[kind][name].as_f64().expect("a time"));
                assert!(0.0 < p50 && p50 <= p90 && p90 <= p95 && p95 <= p99 && p99 < 20_000.0, "{row}");
            }
        }
        let shown = |row: &Value| {
            (
                row["groups"].as_object().expect("groups").values().map(|value| value.as_str().unwrap().to_owned()).collect(),
                row["requests"].as_i64().unwrap(),
            )
        };
        body["data"].as_array().expect("rows").iter().map(shown).collect::<BTreeMap<Vec<String>, i64>>()
    };
    let (ok, second, test) = ("test/ok".to_owned(), "test/second".to_owned(), "test".to_owned());
    assert_eq!(of("").await, BTreeMap::from([(vec![ok.clone()], 5), (vec![second.clone()], 4)]), "{period}");
    assert_eq!(of("group_by=provider").await, BTreeMap::from([(vec![test.clone()], 9)]), "{period}");
    assert_eq!(of("group_by=model,provider&model=test/ok").await, BTreeMap::from([(vec![ok, test], 5)]), "{period}");
    assert_eq!(of("provider=nobody").await, BTreeMap::new(), "{period}");
}

async fn every_grouping_and_filter_has_exactly_its_requests(storage: Storage) {
    let mut world = World::start(storage).await;
    let hash = world.hashes.clone();
    let ledger: i64 = world.arouter.usage(ASKED.len()).await.iter().map(|row| -nanos(&row["amount"])).sum();
    // Minutes, hours, days and months are summed apart.
    for period in ["1h", "1d", "1mo", "1y"] {
        assert_latencies(&world, period).await;
        let of = async |query: &str| counts(&world.get(&format!("period={period}&{query}")).await);
        let all = world.get(&format!("period={period}")).await;
        let data = all["data"].as_array().expect("rows");
        assert_eq!((nanos(&all["totals"]["spend_usd"]), &all["totals"]["requests"]), (ledger, &json!(ASKED.len())), "{period}");
        assert_eq!(data.iter().map(|row| nanos(&row["spend_usd"])).sum::<i64>(), ledger, "{period}");
        let starts: BTreeSet<&str> = data.iter().map(|row| row["period_start"].as_str().expect("a time")).collect();
        assert!(
            starts.len() >= 13 && data.iter().any(|row| row["group"] == "" && row["requests"] == 0),
            "{period}: empty buckets are there"
        );
        assert_eq!(of("group_by=model").await, expected(|asked| Some(asked.0.to_owned())), "{period}");
        assert_eq!(of("group_by=api_key").await, expected(|asked| Some(hash[asked.1].clone())), "{period}");
        assert_eq!(of("group_by=user").await, expected(|asked| Some(asked.2.to_owned())), "{period}");
        assert_eq!(of("group_by=app").await, expected(|asked| Some(asked.3.to_owned())), "{period}");
        assert_eq!(of("group_by=provider").await, expected(|_| Some("test".to_owned())), "{period}");
        assert_eq!(of("group_by=creator").await, expected(|_| Some(world.arouter.keys.account.clone())), "{period}");
        assert_eq!(of("group_by=model,api_key").await, expected(|asked| Some(format!("{} | {}", asked.0, hash[asked.1]))), "{period}");
        assert_eq!(
            of("group_by=user,app,model").await,
            expected(|asked| Some(format!("{} | {} | {}", asked.2, asked.3, asked.0))),
            "{period}"
        );
        assert_eq!(of("user=alice").await, expected(|asked| (asked.2 == "alice").then(|| asked.0.to_owned())), "{period}");
        assert_eq!(of("user=alice&group_by=user").await, expected(|asked| (asked.2 == "alice").then(|| asked.2.to_owned())), "{period}");
        assert_eq!(
            of("model=test/ok&group_by=app").await,
            expected(|asked| (asked.0 == "test/ok").then(|| asked.3.to_owned())),
            "{period}"
        );
        let filters = format!("key_hash={}&app=shop&provider=test&group_by=user", hash[0]);
        assert_eq!(of(&filters).await, expected(|asked| (asked.1 == 0 && asked.3 == "shop").then(|| asked.2.to_owned())), "{period}");
        assert_eq!(of("model=nobody").await, BTreeMap::new(), "{period}");
    }
    let keys = world.get("period=1h&group_by=api_key").await;
    let of_first =
        keys["data"].as_array().expect("rows").iter().find(|row| row["groups"]["api_key"] == json!(hash[0])).expect("the first key");
    assert_eq!(of_first["key"]["name"], "first");
    assert!(of_first["key"]["label"].as_str().is_some_and(|label| world.keys[0].starts_with(&label[..12])));
    let tokens = world.get("period=1h&metric=tokens").await;
    assert!(tokens["totals"]["total_tokens"].is_number() && tokens["totals"]["spend_usd"].is_null());
    world.arouter.settle_and_verify().await;
}

#[tokio::test]
async fn every_grouping_and_filter_has_exactly_its_requests_on_sqlite() {
    every_grouping_and_filter_has_exactly_its_requests(Storage::Sqlite).await;
}

#[tokio::test]
async fn every_grouping_and_filter_has_exactly_its_requests_on_postgresql() {
    every_grouping_and_filter_has_exactly_its_requests(Storage::Postgres(Postgres::start())).await;
}

#[tokio::test]
async fn pages_are_the_whole_and_tables_are_the_answer() {
    let world = World::start(Storage::Sqlite).await;
    let hour_us = 3_600_000_000;
    let now = world.get("period=1h").await["as_of"]["time"].as_str().map(str::to_owned).expect("a time");
    let now_us = events::clock::parse_rfc3339(&now).expect("a time");
    // A chosen period of days is cut at its ends, so its first and last days are made of hours.
    let (from, to) = (events::clock::rfc3339(now_us - 200 * hour_us), events::clock::rfc3339(now_us + hour_us));
    for query in [
        "period=1d&group_by=user",
        "period=1y&group_by=model",
        "period=1mo&group_by=user,model",
        &format!("from={from}&to={to}&group_by=app,user"),
    ] {
        let whole = world.get(query).await;
        let rows = whole["data"].as_array().expect("rows");
        for limit in [1, 2, 7] {
            let (mut pages, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = world.get(&format!("{query}&limit={limit}{cursor}")).await;
                assert_eq!(page["totals"], whole["totals"], "{query}");
                pages.extend(page["data"].as_array().expect("rows").iter().cloned());
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            assert_eq!(&pages, rows, "{query} by {limit}");
        }
        let table = world.csv(&format!("{query}&format=csv")).await;
        assert_eq!(
            table[0],
            "period_start,period_end,group,spend_usd,byok_spend_est_usd,requests,prompt_tokens,completion_tokens,reasoning_tokens,cached_tokens,total_tokens"
        );
        assert_eq!(table.len(), rows.len() + 1, "{query}");
        for (line, row) in table[1..].iter().zip(rows) {
            let [start, end] = [&row["period_start"], &row["period_end"]].map(|time| time.as_str().expect("a time"));
            let counts = ["requests", "prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens", "total_tokens"]
                .map(|name| row[name].to_string())
                .join(",");
            let spend = events::Nanos(nanos(&row["spend_usd"])).to_decimals();
            assert!(
                line.starts_with(&format!("{start},{end},")) && line.ends_with(&format!(",{spend},0.000000000,{counts}")),
                "{line} is not {row}"
            );
        }
    }
}

#[tokio::test]
async fn a_table_of_details_has_a_row_for_each_request_on_sqlite() {
    a_table_of_details_has_a_row_for_each_request(Storage::Sqlite).await;
}

#[tokio::test]
async fn a_table_of_details_has_a_row_for_each_request_on_postgresql() {
    a_table_of_details_has_a_row_for_each_request(Storage::Postgres(Postgres::start())).await;
}

async fn a_table_of_details_has_a_row_for_each_request(storage: Storage) {
    let world = World::start(storage).await;
    let detail = world.csv("period=1d&format=csv&detail=true&group_by=user").await;
    assert!(
        detail[0].ends_with(",total_tokens,model,provider,key_label,creator,user,app,request_id,time,status,finish_reason"),
        "{}",
        detail[0]
    );
    assert!(detail.iter().any(|line| line.contains(",\"carol, \"\"c\"\" ä\",")), "{detail:?}");
    assert!(detail.iter().any(|line| line.contains(",'=cmd,")) && !detail.iter().any(|line| line.contains(",=cmd")), "{detail:?}");
    let ledger: i64 = world.arouter.usage(ASKED.len()).await.iter().map(|row| -nanos(&row["amount"])).sum();
    let spends = world.csv("period=1d&format=csv&detail=true&group_by=app").await;
    let spends =
        spends[1..].iter().map(|line| line.split(',').nth(3).and_then(|spend| events::Nanos::from_usd(spend).ok()).expect("an amount").0);
    assert_eq!(spends.sum::<i64>(), ledger);
    let alone = world.csv("period=1d&format=csv&detail=true&user=alice&model=test/second").await;
    assert_eq!(alone.len(), 2, "{alone:?}");
}

#[tokio::test]
async fn requests_as_parquet_have_types_and_the_values_of_the_table() {
    let world = World::start(Storage::Sqlite).await;
    let file = SerializedFileReader::new(world.bytes("period=1d&format=parquet&detail=true").await).expect("a Parquet file");
    assert_eq!(file.metadata().file_metadata().created_by(), Some("arouter"));
    let rows = file.get_row_iter(None).expect("rows").map(|row| row.expect("a row").into_columns().into_iter().collect());
    let rows: Vec<BTreeMap<String, Field>> = rows.collect();
    let table = world.csv("period=1d&format=csv&detail=true").await;
    assert_eq!(rows.len(), table.len() - 1, "{table:?}");
    for (row, line) in rows.iter().zip(&table[1..]) {
        let Field::Str(request) = &row["request_id"] else { panic!("{row:?}") };
        let spend = &row["spend_usd"];
        assert!(line.contains(request) && line.contains(&format!(",{spend},0.000000000,1,")), "{line} is not {row:?}");
        assert!(matches!((spend, &row["time"]), (Field::Decimal(_), Field::TimestampMicros(_))), "{row:?}");
        assert_eq!((&row["status"], &row["creator"]), (&Field::Long(200), &Field::Str(world.arouter.keys.account.clone())));
    }
    let of = |field: &str| rows.iter().map(|row| row[field].clone()).collect::<Vec<_>>();
    assert!(of("user").contains(&Field::Null) && of("user").contains(&Field::Str("carol, \"c\" ä".to_owned())), "{:?}", of("user"));
    assert!(of("app").contains(&Field::Null) && of("user").contains(&Field::Str("=cmd".to_owned())), "a typed text is no formula");
    let none = SerializedFileReader::new(world.bytes("period=1d&format=parquet&detail=true&user=nobody").await).expect("a Parquet file");
    assert_eq!(none.metadata().file_metadata().num_rows(), 0);
}

#[tokio::test]
async fn a_wrong_query_is_refused_with_its_field() {
    let world = World::start(Storage::Sqlite).await;
    for (query, field) in [
        ("period=1d&detail=true", "detail"),
        ("period=1d&format=pdf&detail=true", "detail"),
        ("format=pdf&paper=a5", "paper"),
        ("period=1d&metric=x", "metric"),
        ("group_by=model,x", "group_by"),
        ("limit=0", "limit"),
        ("cursor=x", "cursor"),
        ("format=xml", "format"),
        ("format=parquet", "format"),
        ("from=2020-01-01T00:00:00Z&format=csv&detail=true", "from"),
        ("date=2020-01-01", "date"),
        ("date=yesterday", "date"),
        ("date=2020-01-01&period=1d", "period"),
    ] {
        let (status, answer) = world.status(query).await;
        assert_eq!((status, &answer["error"]["param"]), (StatusCode::BAD_REQUEST, &json!(field)), "{query}: {answer}");
    }
    let (status, answer) = world.status("colour=red").await;
    assert!(
        status == StatusCode::BAD_REQUEST && answer["error"]["message"].as_str().is_some_and(|text| text.contains("colour")),
        "{answer}"
    );
}

#[tokio::test]
async fn a_report_on_paper_is_the_same_twice() {
    let world = World::start(Storage::Sqlite).await;
    let read = async |query: &str| {
        let url = format!("{}/api/v1/activity?{query}", world.arouter.base);
        let answer = world.arouter.http.get(url).bearer_auth(&world.arouter.keys.live_key).send().await.expect("an answer");
        let (status, kind) = (answer.status(), answer.headers()["content-type"].clone());
        assert!(status == StatusCode::OK && kind == "application/pdf" && answer.headers().contains_key("x-as-of"), "{status} {kind:?}");
        answer.bytes().await.expect("a document")
    };
    let query = "period=1mo&group_by=model,user&format=pdf";
    let report = read(query).await;
    assert!(report.starts_with(b"%PDF-"), "{:?}", &report[..20]);
    assert_eq!(report, read(query).await);
    assert_ne!(report, read(&format!("{query}&paper=letter")).await);
}

#[tokio::test]
async fn other_shapes_have_the_same_sums_and_another_account_sees_nothing() {
    let world = World::start(Storage::Sqlite).await;
    let ledger: i64 = world.arouter.usage(ASKED.len()).await.iter().map(|row| -nanos(&row["amount"])).sum();
    let summary = world.arouter.get("/api/usage/summary").await;
    assert_eq!((nanos(&summary["estimated_cost_usd"]), &summary["total_requests"]), (ledger, &json!(ASKED.len())));
    let models = summary["by_model"].as_array().expect("models");
    assert_eq!(
        models.iter().map(|model| (model["model"].clone(), model["requests"].clone())).collect::<Vec<_>>(),
        [(json!("test/ok"), json!(5)), (json!("test/second"), json!(4))]
    );
    assert_eq!(summary["by_provider"][0]["provider_id"], "test");
    let series = world.arouter.get(&format!("/api/usage/timeseries?granularity=hourly&key_id={}", world.hashes[1])).await;
    let points = series["data_points"].as_array().expect("points");
    assert!(points.len() > 700, "empty hours are there");
    assert_eq!(points.iter().map(|point| point["requests"].as_i64().expect("a count")).sum::<i64>(), 4);
    // Today is not a completed day.
    assert_eq!(world.get("user_id=alice").await, json!({"data": []}));
    let tenant = world.arouter.tenant(1).await;
    for key in [&tenant.live_key, &tenant.management_key] {
        for path in ["/api/v1/activity?period=1h", "/v1/activity?group_by=user&user=alice", "/api/usage/summary"] {
            let (status, answer) = world.arouter.call(Method::GET, path, key, None).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            let requests = if answer["totals"].is_object() { &answer["totals"]["requests"] } else { &answer["total_requests"] };
            assert_eq!(requests, &json!(0), "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn completed_days_have_openrouters_shape() {
    let mut world = World::start(Storage::Sqlite).await;
    world.arouter.stop();
    let mut tomorrow = world.arouter.command("up");
    tomorrow.env(events::clock::SHIFT_VARIABLE, "86400");
    world.arouter.launch_as(tomorrow).await;
    let days = until("yesterday", || async {
        let days = world.get(&format!("api_key_hash={}", world.hashes[0])).await;
        (!days["data"].as_array()?.is_empty()).then_some(days)
    })
    .await;
    let rows = days["data"].as_array().expect("rows");
    let requests: BTreeMap<&str, &Value> = rows.iter().map(|row| (row["model"].as_str().expect("a model"), &row["requests"])).collect();
    assert_eq!(requests, BTreeMap::from([("test/ok", &json!(3)), ("test/second", &json!(2))]));
    let date = rows[0]["date"].as_str().expect("a date");
    for name in [
        "model_permaslug",
        "endpoint_id",
        "provider_name",
        "usage",
        "byok_usage_inference",
        "prompt_tokens",
        "completion_tokens",
        "reasoning_tokens",
    ] {
        assert!(!rows[0][name].is_null(), "{name}: {}", rows[0]);
    }
    assert_eq!(world.get(&format!("date={date}&user_id=bob")).await["data"].as_array().map(Vec::len), Some(2));
}

async fn an_erased_user_is_a_token_everywhere_before_and_after_a_rebuild(storage: Storage) {
    let is_sqlite = matches!(storage, Storage::Sqlite);
    let mut world = World::start(storage).await;
    let before = world.get("period=1d").await["totals"].clone();
    let (status, _) = world.arouter.call(Method::DELETE, "/api/v1/users/alice", &world.arouter.keys.live_key, None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let token = world.erase("alice").await;
    assert_eq!(world.erase("alice").await, token);
    assert_ne!(world.erase("bob").await, token);
    let token = token.as_str().expect("a token").to_owned();
    // The name comes back in a request after the erasure.
    world.ask(("test/ok", 0, "alice", "shop")).await;
    world.counted(ASKED.len() + 1).await;
    let is_erased = async |world: &World| {
        let users = counts(&world.get("period=1d&group_by=user").await);
        let pairs = counts(&world.get("period=1d&group_by=user,app&model=test/ok").await);
        let detail = world.text("period=1d&format=csv&detail=true").await;
        let is_gone = !users.contains_key("alice") && !users.contains_key("bob") && !detail.contains("alice");
        (is_gone
            && users.get(&token) == Some(&5)
            && pairs.get(&format!("{token} | shop")) == Some(&3)
            && detail.matches(&token).count() == 5)
            .then_some(())
    };
    until("the erasure", || is_erased(&world)).await;
    let months = counts(&world.get("period=1y&group_by=user").await);
    assert_eq!((months.get(&token), months.get("alice")), (Some(&5), None), "{months:?}");
    assert!(world.get("period=1d&user=alice").await["totals"]["requests"] == json!(0));
    let after = world.get("period=1d").await["totals"].clone();
    assert_eq!(nanos(&after["spend_usd"]), nanos(&before["spend_usd"]) + 20_000, "no money is lost with a name");
    let recorded = world.arouter.recorded(events::subject::Stream::Control).await;
    assert!(!json!(recorded).to_string().contains("alice"), "the name is in no event of its erasure");
    world.arouter.settle_and_verify().await;
    if is_sqlite {
        let output = world.arouter.command("replay").arg("--into").arg(world.arouter.data().join("made")).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        world.arouter.stop();
        std::fs::remove_file(world.arouter.data().join("projector.db")).expect("deleted");
        world.arouter.launch().await;
        world.arouter.verify();
        until("the erasure in the new reports", || is_erased(&world)).await;
        let rows = read(&world.arouter.database("projector"), "SELECT COUNT(*) FROM usage_details WHERE end_user = 'alice'").await;
        assert_eq!(rows[0].get::<i64, _>(0), 0);
    }
}

#[tokio::test]
async fn an_erased_user_is_a_token_everywhere_on_sqlite() {
    an_erased_user_is_a_token_everywhere_before_and_after_a_rebuild(Storage::Sqlite).await;
}

#[tokio::test]
async fn an_erased_user_is_a_token_everywhere_on_postgresql() {
    an_erased_user_is_a_token_everywhere_before_and_after_a_rebuild(Storage::Postgres(Postgres::start())).await;
}

#[tokio::test]
async fn a_stream_that_is_read_again_counts_nothing_twice() {
    let mut world = World::start(Storage::Sqlite).await;
    let before = world.get("period=1y&group_by=user,model").await["data"].clone();
    world.arouter.stop();
    std::fs::remove_dir_all(world.arouter.data().join("nats/jetstream/AROUTER/streams/USAGE")).expect("there is such a stream");
    world.arouter.launch().await;
    world.ask(("test/ok", 1, "dora", "")).await;
    world.counted(ASKED.len() + 1).await;
    let after = world.get("period=1y&group_by=user,model").await["data"].clone();
    let (before, after) = (before.as_array().expect("rows").len(), after.as_array().expect("rows").len());
    assert_eq!(after, before + 1, "one group more");
    world.arouter.settle_and_verify().await;
}
