use crate::body_limit::BodyLimit;
use crate::catch_panic::CatchPanic;
#[cfg(feature = "rate-limit")]
use crate::rate_limit::RateLimit;
use crate::reply::ReplyBody;
use crate::timeout::{Timeout, TimeoutBody};

// The inner layers, from the outside in. They depend on the features of the crate, so no public type shows this one.
pub(super) type Inner<S> = Limited<BodyLimit<Timeout<CatchPanic<S>>>>;
pub(super) type InnerBody<B> = LimitedBody<ReplyBody<TimeoutBody<ReplyBody<B>>>>;

#[cfg(feature = "rate-limit")]
type Limited<S> = RateLimit<S>;
#[cfg(not(feature = "rate-limit"))]
type Limited<S> = S;
#[cfg(feature = "rate-limit")]
type LimitedBody<B> = ReplyBody<B>;
#[cfg(not(feature = "rate-limit"))]
type LimitedBody<B> = B;
