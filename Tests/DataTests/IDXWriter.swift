import Files
import Foundation
import Tensor

/// A folder that disappears with its owner, and IDX files made without the reader's code.
final class IDXFolder {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "vintner-data-" + UUID().uuidString
        try Folder.make(path)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The bytes of an IDX file.
    static func bytes(_ dimensions: [Int], _ content: [UInt8], type: UInt8 = 8) -> [UInt8] {
        var bytes: [UInt8] = [0, 0, type, UInt8(dimensions.count)]
        for extent in dimensions {
            bytes += [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: extent >> $0) }
        }
        return bytes + content
    }

    @discardableResult
    func put(_ bytes: [UInt8], as name: String) throws -> String {
        let file = "\(path)/\(name)"
        try Data(bytes).write(to: URL(fileURLWithPath: file))
        return file
    }

    /// Compresses a file with the system's own gzip.
    func gzip(_ name: String) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/gzip")
        process.arguments = ["-n", "\(path)/\(name)"]
        try process.run()
        process.waitUntilExit()
    }

    /// A whole small dataset of pseudo-random images.
    func putDataset(train: Int = 13, test: Int = 5, extents: [Int] = [4, 3], classes: Int = 3) throws {
        for (prefix, count, seed) in [("train", train, 1), ("t10k", test, 2)] {
            var random = CounterRandom(seed: UInt64(seed), purpose: .test)
            let elements = count * extents.reduce(1, *)
            let images = (0..<elements).map { _ in UInt8(random.below(256)) }
            let labels = (0..<count).map { UInt8($0 % classes) }
            try put(
                Self.bytes([count] + extents, images), as: "\(prefix)-images-idx\(extents.count + 1)-ubyte")
            try put(Self.bytes([count], labels), as: "\(prefix)-labels-idx1-ubyte")
        }
    }
}
