import Files

/// How the files of a new dataset are to be read.
public enum DatasetFormat: Sendable, Hashable {
    /// Images and labels in files as MNIST's; class names are used when there is one per class.
    case idx(classNames: [String] = [])
    /// Images and labels in files of NumPy, one for each array.
    case npy(classNames: [String] = [])
    /// The same arrays in one archive of NumPy.
    case npz(classNames: [String] = [])
    /// A tar archive of images, in folders that are named as their classes.
    case images
    /// A text file, or up to three: `train.txt` and perhaps `validation.txt` and `test.txt`.
    case text(TextSettings)
    /// A CSV file of labelled texts or tokens, or up to three: `train.csv` and perhaps the other two.
    case csv(TextSettings)

    /// Memory that checking files of these sizes takes, in bytes; 0 where it is a few MiB whatever they hold.
    ///
    /// A text lies there with its tokens, of two bytes for each of its own. A line of CSV has four bytes at
    /// least: beside them its place, its label and what becomes of them, or the entry of a word that occurs
    /// once. Both factors are measured (`uploads.texts_take_the_memory_that_is_counted_for_them`).
    public func checkingByteCount(ofFiles byteCounts: [Int]) -> Int {
        let factor: Int
        switch self {
        case .idx, .npy, .npz, .images: return 0
        case .text: factor = 4
        case .csv: factor = 8
        }
        // Far above any size, and small enough to calculate with.
        let sum = byteCounts.reduce(0) { min($0 + min($1, 1 << 50), 1 << 50) }
        return factor * sum + Self.tableByteCount
    }

    /// Tables of characters and of labels, whatever the files hold.
    private static let tableByteCount = 32 << 20

    /// What people call it.
    public var name: Name {
        switch self {
        case .idx: .idx
        case .npy: .npy
        case .npz: .npz
        case .images: .images
        case .text: .text
        case .csv: .csv
        }
    }

    /// The formats, as people write them.
    public enum Name: String, Sendable, CaseIterable {
        /// Images as MNIST's.
        case idx
        /// Images as arrays of NumPy.
        case npy
        /// The same in one file.
        case npz
        /// Images as PNG or JPEG files in a tar archive.
        case images
        /// Running text.
        case text
        /// Labelled texts or tokens.
        case csv

        /// By the name of a file, or what a folder holds.
        public init(guessedFrom path: String) {
            let isFolder = Folder.status(of: path, followingLinks: true)?.isFolder == true
            guard isFolder else {
                self = Self(guessedFromNames: [path]) ?? .text
                return
            }
            self = Self(guessedFromNames: (try? Folder.names(in: path)) ?? []) ?? .idx
        }

        /// By the names of its files; `nil` where they tell nothing.
        public init?(guessedFromNames names: [String]) {
            func has(_ endings: String...) -> Bool {
                names.contains { name in endings.contains { name.lowercased().hasSuffix($0) } }
            }
            if has(".npz") {
                self = .npz
            } else if has(".npy") {
                self = .npy
            } else if has(".tar", ".tar.gz", ".tgz") {
                self = .images
            } else if has("-ubyte", "-ubyte.gz") {
                self = .idx
            } else if has(".csv") {
                self = .csv
            } else if has(".txt") {
                self = .text
            } else {
                return nil
            }
        }
    }
}
