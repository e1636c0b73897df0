/// Takes a body piece by piece while it comes, so that it is never in memory as a whole.
///
/// Its calls come one after another, from different threads of which none serves other connections.
public protocol BodySink: AnyObject, Sendable {
    /// Takes the next piece; may block.
    ///
    /// - Throws: A `Problem`, which becomes the answer; the rest of the body is then of no use.
    func take(_ bytes: [UInt8]) throws

    /// The body will not end, or nobody wants it any more; also called after a failure, and after the end.
    func abandon()
}

/// The answer of a route whose body is not kept in memory.
struct StreamedRoute: Sendable {
    /// Decides by the header alone whether the body is wanted, on the connection's thread: quickly.
    let open: @Sendable (Request) throws -> any BodySink
    /// Answers after the whole body was taken.
    let reply: @Sendable (Request, any BodySink) throws -> Response
}
