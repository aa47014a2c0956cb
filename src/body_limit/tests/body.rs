use super::*;

#[test]
fn cut_to_the_byte_however_it_is_chunked() {
    for total in 0..=9 {
        let expected: Vec<u8> = (1..=total as u8).collect();
        for chunks in cuts(total) {
            for limit in 0..=10 {
                let body = BodyLimitBody::new(Frames::of(&chunks), Some(limit as u64), None);
                let (bytes, _, error) = read(body);
                assert_eq!(bytes, expected[..total.min(limit)], "{chunks:?} of {limit}");
                assert_eq!(error, total > limit, "{chunks:?} of {limit}");
            }
        }
    }
}

#[test]
fn trailers_and_empty_frames_are_no_bytes() {
    let body = BodyLimitBody::new(Frames::of(&[0, 2, 0, 1, 0]).trailers(), Some(3), None);
    assert_eq!(read(body), (vec![1, 2, 3], true, false));
    let body = BodyLimitBody::new(Frames::of(&[0, 2, 2]).trailers(), Some(3), None);
    assert_eq!(read(body), (vec![1, 2, 3], false, true));
    let body = BodyLimitBody::new(Frames::of(&[5]).trailers(), None, None);
    assert_eq!(read(body), (vec![1, 2, 3, 4, 5], true, false));
}

#[test]
fn cut_drops_the_inner_body_and_reading_yields_the_error() {
    let frames = Frames::of(&[2, 2, 2]);
    let alive = frames.alive.clone();
    let none = EventSink::none();
    let subject = crate::served::Subject::of(&mut Request::new(()), &none, false);
    let over = crate::body_limit::body::Over::new(none, subject, false, 4, None);
    let mut body = BodyLimitBody::new(frames, Some(3), Some(over.clone()));
    next(&mut body).unwrap().unwrap();
    assert_eq!(Arc::strong_count(&alive), 2);
    let part = next(&mut body).unwrap().unwrap().into_data().unwrap();
    assert_eq!(part, &[3][..]);
    assert_eq!(Arc::strong_count(&alive), 1, "nothing more is read");
    assert!(!over.is_set(), "within the limit so far");
    assert!(!body.is_end_stream());
    next(&mut body).unwrap().unwrap_err();
    assert!(over.is_set());
}

#[test]
fn the_size_hint_is_clamped() {
    let hint = |lower, upper: Option<u64>, limit| {
        let mut frames = Frames::of(&[1, 1]);
        frames.hint.set_lower(lower);
        if let Some(upper) = upper {
            frames.hint.set_upper(upper);
        }
        let mut body = BodyLimitBody::new(frames, limit, None);
        let before = body.size_hint();
        next(&mut body).unwrap().unwrap();
        let after = body.size_hint();
        [before, after].map(|hint| (hint.lower(), hint.upper()))
    };
    assert_eq!(hint(0, None, Some(9)), [(0, Some(9)), (0, Some(8))]);
    assert_eq!(hint(2, Some(20), Some(9)), [(2, Some(9)), (2, Some(8))]);
    assert_eq!(hint(2, Some(3), Some(9)), [(2, Some(3)), (2, Some(3))]);
    assert_eq!(hint(20, None, Some(9)), [(9, Some(9)), (8, Some(8))]);
    assert_eq!(hint(20, None, None), [(20, None), (20, None)]);
}

#[test]
fn the_error_is_found_behind_others() {
    #[derive(Debug)]
    struct Wrapped(BoxError);
    impl std::fmt::Display for Wrapped {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("wrapped")
        }
    }
    impl std::error::Error for Wrapped {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&*self.0)
        }
    }
    let error = Wrapped(Box::new(Wrapped(super::error::too_large())));
    assert!(is_too_large(&error));
    assert!(is_too_large(&axum::Error::new(error)));
    assert!(!is_too_large(&Wrapped(BoxError::from("something else"))));
}
