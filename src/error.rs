/// The error of a service or of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
