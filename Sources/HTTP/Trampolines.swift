import CMicrohttpd
import Dispatch
import Glibc
import TLS

/// Names a connection while it lives; the library may give the name to another one afterwards.
struct ConnectionID: Hashable, Sendable {
    fileprivate let address: UInt
}

/// A connection of the library.
///
/// `@unchecked Sendable`: the pointer is only dereferenced by the library, whose suspend and resume
/// lock, and only between the first call for the connection and its completion.
@safe struct ConnectionHandle: @unchecked Sendable {
    fileprivate let pointer: OpaquePointer

    var id: ConnectionID { unsafe ConnectionID(address: UInt(bitPattern: pointer)) }

    /// Takes the connection off its thread; only from within one of its own callbacks.
    func suspend() { unsafe MHD_suspend_connection(pointer) }

    /// Gives it back; exactly once after each `suspend`.
    func resume() { unsafe MHD_resume_connection(pointer) }

    fileprivate var peer: String {
        let bytes = unsafe [CChar](unsafeUninitializedCapacity: 64) { buffer, count in
            guard let base = buffer.baseAddress else { return }
            unsafe cmhd_peer(pointer, base, buffer.count)
            unsafe count = strlen(base)
        }
        return String(decoding: bytes.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The descriptor, which the library closes.
    var socket: Int32 { unsafe cmhd_socket(pointer) }
}

/// The running library: owns the daemon, the listening socket and the logger it writes to.
///
/// `@unchecked Sendable`: the pointers are only handed to the library, which locks.
@safe final class DaemonHandle: @unchecked Sendable {
    private let daemon: OpaquePointer
    private let logger: UnsafeMutablePointer<cmhd_logger>
    private let context: Unmanaged<Entrance>
    private let listener: Listener

    /// Starts the library; `nil` when it refuses.
    init?(_ core: ServerCore, listeningOn listener: Listener) {
        let context = unsafe Unmanaged.passRetained(Entrance(core, listener))
        let logger = UnsafeMutablePointer<cmhd_logger>.allocate(capacity: 1)
        unsafe logger.initialize(to: cmhd_logger(line: onLogLine, context: context.toOpaque()))
        let configuration = core.configuration
        let isLocal = listener.transport == .local
        let callback = unsafe listener.transport == .encrypted ? TLSIdentity.callback : nil
        // Read once, when the daemon starts.
        let priorities = unsafe strdup(TLSConnection.priorities)
        defer { unsafe free(priorities) }
        var settings = unsafe cmhd_configuration(
            listen_fd: listener.descriptor, certificate_callback: callback, priorities: priorities,
            connections_max: UInt32(configuration.connectionsMax),
            connections_per_peer_max: isLocal ? 0 : UInt32(configuration.connectionsPerPeerMax),
            idle_seconds_max: UInt32(configuration.idleSeconds),
            threads: UInt32(configuration.connectionThreads),
            connection_bytes_max: configuration.headerByteCountMax, connection_bytes_increment: 16_384)
        unsafe MHD_set_panic_func(onPanic, nil)
        guard
            let daemon = unsafe cmhd_start(
                &settings, onRequest, onCompleted, onConnection, logger, context.toOpaque())
        else {
            unsafe logger.deallocate()
            unsafe context.release()
            return nil
        }
        unsafe (self.daemon, self.logger, self.context, self.listener) = (daemon, logger, context, listener)
    }

    /// Refuses a library whose behaviour nobody looked at.
    static func checkLibrary() throws(HTTPError) {
        let version = unsafe String(cString: MHD_get_version())
        let isKnown = version.hasPrefix("0.9.") || version.hasPrefix("1.")
        guard isKnown, MHD_is_feature_supported(.FEATURE_POLL) == .YES else {
            throw .unsupportedLibrary(version: version)
        }
    }

    /// Accepts no further connection.
    func quiesce() { _ = unsafe MHD_quiesce_daemon(daemon) }

    /// Closes every connection, of which none may be suspended; once.
    func stop() {
        unsafe MHD_stop_daemon(daemon)
        listener.close()
        unsafe logger.deallocate()
        unsafe context.release()
    }
}

// The library's entry points. None captures anything, none throws, none is isolated to an actor: Swift
// would end the process when the library calls from its own threads.

private let onLogLine: @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>?) -> Void = {
    context, text in
    guard let context = unsafe context, let text = unsafe text else { return }
    let core = unsafe Unmanaged<Entrance>.fromOpaque(context).takeUnretainedValue().core
    // Echoes what clients sent: escaped, so that no text can forge a line.
    let line = unsafe String(cString: text).unicodeScalars.map { $0.value < 0x20 ? " " : String($0) }.joined()
    core.log(.debug, "libmicrohttpd: \(line)")
}

private let onPanic: MHD_PanicCallback = { _, _, line, reason in
    let text = unsafe reason.map { unsafe String(cString: $0) } ?? "no reason"
    let message = Array("libmicrohttpd cannot go on (line \(line)): \(text)\n".utf8)
    _ = unsafe write(STDERR_FILENO, message, message.count)
    abort()
}

private let onConnection: MHD_NotifyConnectionCallback = { context, connection, _, event in
    guard let context = unsafe context, let connection = unsafe connection else { return }
    let core = unsafe Unmanaged<Entrance>.fromOpaque(context).takeUnretainedValue().core
    let handle = unsafe ConnectionHandle(pointer: connection)
    switch event {
    case .CONNECTION_NOTIFY_STARTED:
        core.connections.add(handle.id, socket: handle.socket)
        core.configuration.meter.connected()
    case .CONNECTION_NOTIFY_CLOSED:
        core.connections.remove(handle.id)
        core.configuration.meter.disconnected()
    @unknown default: break
    }
}

private let onCompleted: MHD_RequestCompletedCallback = { context, connection, state, _ in
    guard let context = unsafe context, let connection = unsafe connection else { return }
    let core = unsafe Unmanaged<Entrance>.fromOpaque(context).takeUnretainedValue().core
    core.connections.enter(.idle, unsafe ConnectionHandle(pointer: connection).id)
    guard let state = unsafe state, let opaque = unsafe state.pointee else { return }
    let exchange = unsafe Unmanaged<Exchange>.fromOpaque(opaque).takeRetainedValue()
    core.forget(exchange)
    exchange.close()
    unsafe state.pointee = nil
}

private let onRequest: MHD_AccessHandlerCallback = {
    context, connection, url, method, version, data, count, state in
    guard let context = unsafe context, let connection = unsafe connection, let url = unsafe url,
        let method = unsafe method, let version = unsafe version, let count = unsafe count,
        let state = unsafe state
    else { return .NO }
    let entrance = unsafe Unmanaged<Entrance>.fromOpaque(context).takeUnretainedValue()
    let core = entrance.core
    let handle = unsafe ConnectionHandle(pointer: connection)
    guard let opaque = unsafe state.pointee else {
        var head = unsafe readHead(
            handle, entrance.listener, String(cString: method), String(cString: url),
            String(cString: version))
        head.isVerbatim = unsafe cmhd_is_verbatim(connection, method, url, version) != 0
        switch core.begin(head, handle) {
        case .refuse(let response, let requestID): return send(response, requestID, handle, entrance)
        case .exchange(let exchange):
            unsafe state.pointee = Unmanaged.passRetained(exchange).toOpaque()
            return .YES
        }
    }
    let exchange = unsafe Unmanaged<Exchange>.fromOpaque(opaque).takeUnretainedValue()
    if unsafe count.pointee > 0, let data = unsafe data {
        let bytes = unsafe Array(UnsafeRawBufferPointer(start: data, count: count.pointee))
        unsafe count.pointee = 0
        return exchange.receive(bytes) ? .YES : .NO
    }
    switch exchange.step() {
    case .answer(let given):
        let response = core.conclude(given, of: exchange)
        return send(response, exchange.requestID, handle, entrance)
    case .suspended: return .YES
    case .abort: return .NO
    }
}

/// Gathers pairs while the library walks over them.
private final class PairList {
    var pairs: [(name: String, value: String)] = []
    var hasMalformed = false
}

private let onPair: MHD_KeyValueIteratorN = { context, _, name, nameCount, value, valueCount in
    guard let context = unsafe context, let name = unsafe name else { return .YES }
    let list = unsafe Unmanaged<PairList>.fromOpaque(context).takeUnretainedValue()
    let valueBytes = unsafe UnsafeRawBufferPointer(start: value, count: value == nil ? 0 : valueCount)
    let nameBytes = unsafe UnsafeRawBufferPointer(start: name, count: nameCount)
    if unsafe valueBytes.contains(where: { $0 < 0x20 && $0 != 0x09 || $0 == 0x7F }) {
        list.hasMalformed = true
    }
    unsafe list.pairs.append(
        (String(decoding: nameBytes, as: UTF8.self), String(decoding: valueBytes, as: UTF8.self)))
    return .YES
}

private func readPairs(_ connection: ConnectionHandle, _ kind: MHD_ValueKind) -> PairList {
    let list = PairList()
    unsafe MHD_get_connection_values_n(
        connection.pointer, kind, onPair, Unmanaged.passUnretained(list).toOpaque())
    return list
}

private func readHead(
    _ connection: ConnectionHandle, _ listener: Listener, _ method: String, _ path: String, _ version: String
) -> RequestHead {
    let fields = readPairs(connection, .HEADER_KIND)
    let query = readPairs(connection, .GET_ARGUMENT_KIND)
    var headers = Headers()
    for field in fields.pairs { headers.add(field.name, field.value) }
    return RequestHead(
        method: method, version: version, path: path, query: query.pairs, headers: headers,
        hasMalformedField: fields.hasMalformed || query.hasMalformed, peer: connection.peer,
        listener: listener)
}

/// Hands an answer to the library.
private func send(
    _ response: Response, _ requestID: String, _ connection: ConnectionHandle, _ entrance: Entrance
) -> MHD_Result {
    let core = entrance.core
    var response = response
    SecurityHeaders.apply(to: &response, requestID: requestID, over: entrance.listener.transport)
    if case .events(let source) = response.body {
        let channel = EventChannel(source, connection, core)
        guard core.waiters.add(channel) else {
            return send(ServerCore.busy.response, requestID, connection, entrance)
        }
        core.connections.enter(.streaming, connection.id)
        return unsafe queue(response, connection, makeStream(channel))
    }
    if core.isDraining || core.connections.age(of: connection.id) > core.configuration.connectionAgeSeconds {
        response.headers["Connection"] = "close"
    }
    switch response.body {
    case .bytes(let bytes):
        core.connections.enter(.answering(byteCount: bytes.count), connection.id)
        return unsafe bytes.withUnsafeBytes { buffer in
            let copied = unsafe MHD_create_response_from_buffer(
                buffer.count, UnsafeMutableRawPointer(mutating: buffer.baseAddress), .RESPMEM_MUST_COPY)
            return unsafe queue(response, connection, copied)
        }
    case .file(let file):
        // The library closes what it is given; the body keeps its own.
        guard let descriptor = file.duplicate() else { return .NO }
        core.connections.enter(.answering(byteCount: file.byteCount), connection.id)
        return unsafe queue(
            response, connection,
            MHD_create_response_from_fd_at_offset64(
                UInt64(file.byteCount), descriptor, UInt64(file.offset)))
    case .made(let body):
        core.connections.enter(.answering(byteCount: body.byteCount), connection.id)
        let sender = unsafe Unmanaged.passRetained(BodySender(body, core, requestID: requestID))
        return unsafe queue(
            response, connection,
            MHD_create_response_from_callback(
                UInt64(body.byteCount), MadeBody.pieceByteCount, onPiece, sender.toOpaque(), onBodyEnd))
    case .events: return .NO
    }
}

private func queue(
    _ response: Response, _ connection: ConnectionHandle, _ made: OpaquePointer?
) -> MHD_Result {
    guard let made = unsafe made else { return .NO }
    for field in response.headers.fields { unsafe MHD_add_response_header(made, field.name, field.value) }
    defer { unsafe MHD_destroy_response(made) }
    return unsafe MHD_queue_response(connection.pointer, UInt32(response.status.code), made)
}

private func makeStream(_ channel: EventChannel) -> OpaquePointer? {
    unsafe MHD_create_response_from_callback(
        cmhd_size_unknown(), 4096, onRead, Unmanaged.passRetained(channel).toOpaque(), onStreamEnd)
}

private let onRead: MHD_ContentReaderCallback = { context, _, buffer, count in
    guard let context = unsafe context, let buffer = unsafe buffer else { return cmhd_end_of_stream() }
    let channel = unsafe Unmanaged<EventChannel>.fromOpaque(context).takeUnretainedValue()
    switch channel.read(count) {
    case .bytes(let bytes):
        let target = unsafe UnsafeMutableRawBufferPointer(start: buffer, count: count)
        unsafe target.copyBytes(from: bytes)
        return bytes.count
    case .suspended: return 0
    case .end: return cmhd_end_of_stream()
    }
}

private let onStreamEnd: MHD_ContentReaderFreeCallback = { context in
    guard let context = unsafe context else { return }
    unsafe Unmanaged<EventChannel>.fromOpaque(context).takeRetainedValue().release()
}

/// A body that is made while it is sent, on its way to one client.
private final class BodySender {
    private let body: MadeBody
    private let core: ServerCore
    private let requestID: String

    init(_ body: MadeBody, _ core: ServerCore, requestID: String) {
        (self.body, self.core, self.requestID) = (body, core, requestID)
    }

    /// The next bytes; nil, with the reason in the log, where they cannot be made.
    func bytes(at position: UInt64, upTo count: Int) -> [UInt8]? {
        do { return try body.bytes(at: Int(position), upTo: count) } catch {
            core.log(.error, "the answer was cut off: \(error)", requestID)
            return nil
        }
    }
}

private let onPiece: MHD_ContentReaderCallback = { context, position, buffer, count in
    guard let context = unsafe context, let buffer = unsafe buffer else { return cmhd_end_with_error() }
    let sender = unsafe Unmanaged<BodySender>.fromOpaque(context).takeUnretainedValue()
    guard let bytes = sender.bytes(at: position, upTo: count) else { return cmhd_end_with_error() }
    let target = unsafe UnsafeMutableRawBufferPointer(start: buffer, count: count)
    unsafe target.copyBytes(from: bytes)
    return bytes.count
}

private let onBodyEnd: MHD_ContentReaderFreeCallback = { context in
    guard let context = unsafe context else { return }
    unsafe Unmanaged<BodySender>.fromOpaque(context).release()
}
