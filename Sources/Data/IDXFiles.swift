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

    /// Finds the files in `folder`: plain or `.gz`, `-idx3-ubyte` or `.idx3-ubyte`; validation may lack.
    init(in folder: String) throws(DataError) {
        let names = Set(try DataError.translating { () throws(FileError) in try Folder.names(in: folder) })
        func find(_ prefix: Prefix, _ kind: String, _ ranks: [Int]) -> (path: String?, tried: [String]) {
            let tried = ranks.flatMap { rank in
                ["-", "."].flatMap { separator in
                    ["", ".gz"].map { "\(prefix.rawValue)-\(kind)\(separator)idx\(rank)-ubyte\($0)" }
                }
            }
            return (tried.first(where: names.contains).map { "\(folder)/\($0)" }, tried)
        }
        func pair(_ prefix: Prefix) throws(DataError) -> Pair {
            let images = find(prefix, "images", [3, 4])
            let labels = find(prefix, "labels", [1])
            guard let imagesPath = images.path else {
                throw .missingFile(folder: folder, tried: images.tried)
            }
            guard let labelsPath = labels.path else {
                throw .missingFile(folder: folder, tried: labels.tried)
            }
            return Pair(images: imagesPath, labels: labelsPath)
        }
        train = try pair(.train)
        test = try pair(.test)
        let hasValidation = find(.validation, "images", [3, 4]).path != nil
        validation = hasValidation ? try pair(.validation) : nil
    }

    /// The splits in their fixed order, which is the order they are hashed in.
    var pairs: [Pair] { [train] + (validation.map { [$0] } ?? []) + [test] }

    /// All files.
    var paths: [String] { pairs.flatMap { [$0.images, $0.labels] } }
}
