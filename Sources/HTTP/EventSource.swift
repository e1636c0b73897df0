public import JSON

/// One server-sent event.
public struct ServerEvent: Sendable {
    /// What a client sends as `Last-Event-ID` to go on after this one; `nil` does not move its place.
    public let id: String?
    /// The kind, for `addEventListener`.
    public let name: String
    public let data: JSONValue

    /// Makes an event.
    public init(id: String?, name: String, data: JSONValue) {
        (self.id, self.name, self.data) = (id, name, data)
    }

    /// The event's lines; JSON has no line breaks, so one `data` line is enough.
    var bytes: [UInt8] {
        var text = id.map { "id: \(Self.oneLine($0))\n" } ?? ""
        text += "event: \(Self.oneLine(name))\n"
        return Array(text.utf8) + Array("data: ".utf8) + data.encodedBytes() + [0x0A, 0x0A]
    }

    private static func oneLine(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.filter { $0.value >= 0x20 }))
    }
}

/// Where a live stream's events come from: pulled when there is room, so a slow client holds nothing up.
public struct EventSource: Sendable {
    /// Calls `wake` once at the next change, from any thread; the result calls it off.
    public let subscribe: @Sendable (_ wake: @escaping @Sendable () -> Void) -> @Sendable () -> Void
    /// The next events after those pulled before; never called twice at once.
    public let pull: @Sendable () throws -> EventBatch

    /// Makes a source; `subscribe` is called before each `pull`, so that nothing falls between.
    public init(
        subscribe: @escaping @Sendable (@escaping @Sendable () -> Void) -> @Sendable () -> Void,
        pull: @escaping @Sendable () throws -> EventBatch
    ) {
        (self.subscribe, self.pull) = (subscribe, pull)
    }
}

/// What one pull found.
public struct EventBatch: Sendable {
    /// The events as they are sent; a batch for many streams is encoded once.
    let bytes: [UInt8]
    /// How long they are.
    public var byteCount: Int { bytes.count }
    /// Whether another pull would find more at once.
    public let hasMore: Bool
    /// Whether the stream is over.
    public let isLast: Bool

    /// Makes a batch.
    public init(_ events: [ServerEvent], hasMore: Bool = false, isLast: Bool = false) {
        (bytes, self.hasMore, self.isLast) = (events.flatMap(\.bytes), hasMore, isLast)
    }
}
