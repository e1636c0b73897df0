import CJPEG

/// Decodes a JPEG image by libjpeg-turbo: grey or colour, baseline or progressive.
///
/// What that library would patch up (an early end, broken data) is refused, as is what takes it out of
/// proportion: images of many scans, and more than 48 MiB for the coefficients of a progressive one.
struct JPEGReader: StillImage {
    /// What every image starts with.
    static let signature: [UInt8] = [0xFF, 0xD8, 0xFF]

    let width: Int
    let height: Int
    let isColored: Bool
    private let bytes: [UInt8]
    private let name: String

    /// Reads the header of an image.
    init(_ bytes: [UInt8], of name: String) throws(DataError) {
        (self.bytes, self.name) = (bytes, name)
        var header = cjpeg_header()
        var message = [CChar](repeating: 0, count: Self.messageByteCount)
        guard unsafe cjpeg_read_header(bytes, bytes.count, &header, &message) == 0 else {
            throw Self.fault(message, name)
        }
        (width, height, isColored) = (Int(header.width), Int(header.height), header.channels != 1)
        try Self.checkExtents(width, height, name)
        guard header.channels == 1 || header.channels == 3 else {
            throw .malformed(
                file: name, expected: "grey or colour", found: "\(header.channels) channels, as for print")
        }
    }

    func decode(channels: Int) throws(DataError) -> [UInt8] {
        var pixels = [UInt8](repeating: 0, count: width * height * channels)
        var message = [CChar](repeating: 0, count: Self.messageByteCount)
        let count = pixels.count
        let status = unsafe cjpeg_decode(
            bytes, bytes.count, UInt32(channels), &pixels, count, &message)
        guard status == 0 else { throw Self.fault(message, name) }
        return pixels
    }

    private static let messageByteCount = 200

    private static func fault(_ message: [CChar], _ name: String) -> DataError {
        let text = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return .malformed(file: name, expected: "a JPEG image", found: "that libjpeg says: \(text)")
    }
}
