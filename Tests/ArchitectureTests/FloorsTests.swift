import Testing

@Suite("The floors hold: imports point downwards") struct FloorsTests {
    /// What each target may import of ours, and of the packages; one row per target.
    static let allowed: [String: Set<String>] = [
        "COneDNN": [], "CMicrohttpd": [], "CZlib": [], "CNettle": [], "CKernels": [], "CAssets": [],
        "CData": [], "CJPEG": [], "CGnuTLS": [],
        "JSON": [], "FailPoints": [], "Files": ["FailPoints", "CZlib", "CNettle"], "Host": [],
        "Waiting": [],
        "Tensor": [], "Kernels": ["Tensor", "COneDNN", "CKernels"], "Graph": ["Tensor", "JSON"],
        "Plan": ["Graph", "Kernels", "Tensor", "JSON"],
        "Data": ["Tensor", "Files", "JSON", "Waiting", "CData", "CJPEG"], "Formats": ["JSON", "Files"],
        "Compression": ["Graph", "Tensor", "JSON"],
        "Training": [
            "Compression", "Plan", "Kernels", "Graph", "Data", "Formats", "Tensor", "JSON", "Files",
        ],
        "Assets": ["CAssets"], "Jobs": ["JSON", "FailPoints", "Waiting"],
        "Store": ["Jobs", "JSON", "Assets", "Files", "FailPoints", "GRDB", "GRDBSQLite"],
        "TLS": ["CGnuTLS"],
        "HTTP": ["CMicrohttpd", "TLS", "JSON", "Files", "Waiting"],
        "API": ["HTTP", "Jobs", "JSON", "Assets"],
        "vintner": [
            "API", "HTTP", "Jobs", "Store", "Assets", "Training", "Compression", "Data", "Formats", "Plan",
            "Graph",
            "Tensor",
            "Kernels", "Host", "Files", "FailPoints", "JSON", "TLS", "Waiting", "Logging",
            "ArgumentParser",
        ],
    ]

    static let packages: Set = ["GRDB", "GRDBSQLite", "Logging", "ArgumentParser"]

    @Test("every target has its row") func everyTargetHasItsRow() {
        #expect(Set(Repository.targets).subtracting(Self.allowed.keys).isEmpty)
        #expect(Repository.targets.count > 15, "Sources was not found")
    }

    @Test("a target imports only what its row says", arguments: Repository.targets)
    func importsPointDownwards(target: String) {
        let governed = Set(Self.allowed.keys).union(Self.packages)
        for file in Repository.sources where file.target == target {
            let forbidden = file.imports.intersection(governed)
                .subtracting(Self.allowed[target, default: []])
            #expect(forbidden.isEmpty, "\(file.path) must not import \(forbidden.sorted())")
        }
    }

    @Test("no row reaches upwards in a circle") func rowsFormNoCircle() {
        var settled: Set<String> = Self.packages
        var waiting = Self.allowed
        while true {
            let ready = waiting.filter { $0.value.isSubset(of: settled) }.keys
            if ready.isEmpty { break }
            settled.formUnion(ready)
            for name in ready { waiting[name] = nil }
        }
        #expect(waiting.isEmpty, "these import each other: \(waiting.keys.sorted())")
    }

    @Test("a C module has one wrapper") func everyCModuleHasOneWrapper() {
        for module in Self.allowed.keys where module.hasPrefix("C") && Self.allowed[module] == [] {
            let wrappers = Set(Repository.sources.filter { $0.imports.contains(module) }.map(\.target))
            #expect(wrappers.count <= 1, "\(module) is imported by \(wrappers.sorted())")
        }
    }

    @Test("the product never imports what belongs to the tests") func productionIsNotTestCode() {
        for file in Repository.sources {
            let forbidden = file.imports.intersection(["TestSupport", "Testing", "XCTest"])
            #expect(forbidden.isEmpty, "\(file.path) must not import \(forbidden.sorted())")
        }
    }
}
