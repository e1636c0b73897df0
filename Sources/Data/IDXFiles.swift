import Files

/// The IDX files of one image dataset, by the names that MNIST gave them.
struct IDXFiles {
    /// The two files of one split.
    struct Pair {
        let images: String
        let labels: String
    }

    /// What the splits' files are called in front of `-images-idx3-ubyte`.
    private enum Prefix: String {
        case train, validation, test = "t10k"
    }

    let train: Pair
    let validation: Pair?
    let test: Pair
    /// What each file is called, by its path.
    let names: [String: String]

    /// Finds the files: plain or `.gz`, `-idx3-ubyte` or `.idx3-ubyte`; validation may lack.
    ///
    /// - Throws: `DataError` naming every file that is missing.
    init(_ source: SourceFiles) throws(DataError) {
        var missing: [DataError] = []
        func find(_ prefix: Prefix, _ kind: String, _ ranks: [Int]) -> (path: String?, tried: [String]) {
            let tried = ranks.flatMap { rank in
                ["-", "."].flatMap { separator in
                    ["", ".gz"].map { "\(prefix.rawValue)-\(kind)\(separator)idx\(rank)-ubyte\($0)" }
                }
            }
            return (tried.lazy.compactMap { source[$0] }.first, tried)
        }
        func pair(_ prefix: Prefix) -> Pair? {
            let (images, labels) = (find(prefix, "images", [3, 4]), find(prefix, "labels", [1]))
            for part in [images, labels] where part.path == nil {
                missing.append(.missingFile(folder: source.place, tried: part.tried))
            }
            guard let images = images.path, let labels = labels.path else { return nil }
            return Pair(images: images, labels: labels)
        }
        let hasValidation = find(.validation, "images", [3, 4]).path != nil
        let (train, test) = (pair(.train), pair(.test))
        validation = hasValidation ? pair(.validation) : nil
        guard let train, let test, missing.isEmpty else { throw .of(missing) }
        (self.train, self.test) = (train, test)
        names = Dictionary(source.files.map { ($0.path, $0.name) }) { first, _ in first }
    }

    /// Finds the files in `folder`.
    init(in folder: String) throws(DataError) { try self.init(SourceFiles(at: folder)) }

    /// The splits in their fixed order, which is the order they are hashed in.
    var pairs: [Pair] { [train] + (validation.map { [$0] } ?? []) + [test] }

    /// All files.
    var paths: [String] { pairs.flatMap { [$0.images, $0.labels] } }
}
