//! The stack against its single layers around each other: the same requests have the same responses, metrics, log
//! lines, events and counts, however service, clients and users' functions behave.

mod layers;
mod plan;
mod run;
mod service;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use layers::Layers;
use plan::{Fails, Part, Plan};
use run::Run;

/// Has both services run the plans; returns what differs.
fn compare(switches: u16, plans: &[Plan]) -> TestCaseResult {
    let fused = Run::of(switches, plans, Layers::fused);
    let single = Run::of(switches, plans, Layers::single);
    for (at, (fused, single)) in fused.iter().zip(&single).enumerate() {
        let mut when = "";
        for (fused, single) in fused.iter().zip(single) {
            prop_assert_eq!(fused, single, "{} request {} of {:#?}", when, at, plans);
            if fused.starts_with("look: ") {
                when = fused;
            }
        }
        prop_assert_eq!(fused.len(), single.len(), "request {} of {:#?}", at, plans);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn stack_acts_as_its_single_layers(
        off in prop::collection::vec(0..Layers::SWITCHES, 0..4),
        plans in prop::collection::vec(plan::any(), 1..5),
    ) {
        let switches = off.iter().fold(0, |switches, off| switches | 1 << off);
        compare(switches, &plans)?;
    }
}

/// Each function of a user, wherever it is asked.
#[test]
fn panic_of_a_users_function_is_accounted_as_among_single_layers() {
    for place in plan::PLACES {
        for drains in [false, true] {
            let plans = [Plan::panicking(place, drains), Plan::default()];
            compare(0, &plans).unwrap();
        }
    }
}

/// What chance rarely brings together.
#[test]
fn rare_ends_are_accounted_as_among_single_layers() {
    let grpc = Plan {
        method: "POST",
        path: "/shop.Orders/Get",
        headers: vec![("content-type", "application/grpc")],
        ..Plan::answering(vec![], vec![Part::Data("hello"), Part::Trailers])
    };
    let pieces = vec![Part::Data("he"), Part::Data("llo")];
    let dropped_behind_its_length = Plan {
        sent: vec!["a", "b", "c"],
        ..Plan::answering(vec![("content-length", "5")], pieces)
    };
    let mut panic = Plan::default();
    panic.answer.fails = Fails::PanicInPoll;
    let without_catch_panic = 1 << 10;
    compare(0, &[grpc, dropped_behind_its_length]).unwrap();
    compare(without_catch_panic, &[panic, Plan::default()]).unwrap();
}
