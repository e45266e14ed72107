//! Whatever arrives is admitted or refused, in few steps and without a panic: the scan of the bytes, the parser, the walk,
//! the variables and the cost. The document comes first, then a NUL, then the variables.

#![no_main]

use std::sync::LazyLock;

use async_graphql::{Request, Variables};
use libfuzzer_sys::fuzz_target;
use stockroom::config::Settings;
use stockroom::graphql::facts::Facts;
use stockroom::transport::admission::admit;

/// Selections that any document may make the walks look at.
const MAX_STEPS: usize = 100_000;

static FACTS: LazyLock<Facts> = LazyLock::new(|| Facts::read().expect("the schema can be read"));
static SETTINGS: LazyLock<Settings> = LazyLock::new(|| Settings::from_flags(&[]).expect("the defaults are settings"));

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |&byte| byte == 0);
    let Ok(document) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let variables = parts.next().and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default();
    let mut request = Request::new(document).variables(Variables::from_json(variables));
    let mut steps = 0;
    let admitted = admit(&mut request, None, false, &FACTS, &SETTINGS.limits, &mut steps);
    assert!(steps <= MAX_STEPS, "{steps} steps");
    if let Ok(admitted) = admitted {
        assert!((1..=SETTINGS.limits.max_cost).contains(&admitted.estimate.cost));
    }
});
