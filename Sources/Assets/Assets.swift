/// The files that are compiled into the binary, so that one file is the whole installation.
public enum Assets {
    /// Every file, in the order of the table.
    public static let all: [Asset] = (0..<EmbeddedFile.count).map {
        Asset(name: EmbeddedFile.name(at: $0), index: $0)
    }

    private static let positions = Dictionary(
        all.map { ($0.name, $0.index) }, uniquingKeysWith: { first, _ in first })

    /// The file of that name, as in `public/index.html`, or `nil`.
    public static func named(_ name: String) -> Asset? {
        positions[name].map { all[$0] }
    }

    /// The schema's migrations, oldest first; `name` is the file's name without folder and extension.
    public static var migrations: [(name: String, sql: String)] {
        let folder = "migrations/"
        return all.filter { $0.name.hasPrefix(folder) }
            .sorted { $0.name < $1.name }
            .map { (String($0.name.dropFirst(folder.count).dropLast(".sql".count)), $0.text) }
    }
}
