// swift-tools-version: 6.3
import PackageDescription

/// What every Swift target of ours is compiled with.
let strict: [SwiftSetting] = [
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

/// A Swift target of ours; what it may import is checked by the architecture test.
func floor(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, exclude: ["README.md"], swiftSettings: strict)
}

/// The tests of one target.
func tests(of name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: [.byName(name: name), "TestSupport"] + dependencies,
        swiftSettings: strict)
}

let log: Target.Dependency = .product(name: "Logging", package: "swift-log")
let grdb: Target.Dependency = .product(name: "GRDB", package: "GRDB.swift")
let sqlite: Target.Dependency = .product(name: "GRDBSQLite", package: "GRDB.swift")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

/// The parsers fed with anything: by libFuzzer (`make fuzz`), else with what that has found.
let fuzz: Target =
    Context.environment["VINTNER_FUZZ"] == nil
    ? .testTarget(
        name: "FuzzTests", dependencies: ["Data", "Formats", "Graph", "HTTP", "JSON", "Files"],
        exclude: ["FuzzEntry.swift", "corpus", "make_seeds.py"], swiftSettings: strict)
    : .executableTarget(
        name: "fuzz", dependencies: ["Data", "Formats", "Graph", "HTTP", "JSON", "Files"],
        path: "Tests/FuzzTests", exclude: ["CorpusTests.swift", "corpus", "make_seeds.py"],
        swiftSettings: strict + [.unsafeFlags(["-parse-as-library"])])

let package = Package(
    name: "vintner",
    products: [.executable(name: "vintner", targets: ["vintner"])],
    dependencies: [
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        // Floor 0: C, and what both columns read and write.
        .systemLibrary(name: "COneDNN", providers: [.apt(["libdnnl-dev"])]),
        .systemLibrary(name: "CMicrohttpd", providers: [.apt(["libmicrohttpd-dev"])]),
        .systemLibrary(name: "CGnuTLS", providers: [.apt(["libgnutls28-dev"])]),
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CNettle", providers: [.apt(["nettle-dev"])]),
        .target(
            name: "CKernels", cSettings: [.unsafeFlags(["-O3"])], linkerSettings: [.linkedLibrary("gomp")]),
        .target(name: "CData", cSettings: [.unsafeFlags(["-O3"])]),
        .target(name: "CJPEG", linkerSettings: [.linkedLibrary("jpeg")]),
        .target(name: "CAssets", cSettings: [.unsafeFlags(["-Wno-c23-extensions"])]),
        floor("JSON"),
        floor("FailPoints"),
        floor("Threads"),
        floor("Files", ["FailPoints", "CZlib", "CNettle"]),
        floor("Host"),
        // Floors 1-3: the compute column.
        floor("Tensor"),
        floor("Kernels", ["Tensor", "COneDNN", "CKernels"]),
        floor("Graph", ["Tensor", "JSON"]),
        floor("Plan", ["Graph", "Kernels", "Tensor", "JSON"]),
        floor("Data", ["Tensor", "JSON", "Files", "Threads", "CData", "CJPEG"]),
        floor("Formats", ["JSON", "Files"]),
        floor("Compression", ["Graph", "Tensor", "JSON"]),
        floor(
            "Training",
            ["Compression", "Plan", "Kernels", "Graph", "Data", "Formats", "Tensor", "JSON", "Files"]),
        // Floors 4-5: the service column.
        floor("Assets", ["CAssets"]),
        floor("Jobs", ["JSON", "Threads", "FailPoints"]),
        floor("Store", ["Jobs", "JSON", "Assets", "Files", "Threads", "FailPoints", grdb, sqlite]),
        floor("TLS", ["CGnuTLS"]),
        floor("HTTP", ["CMicrohttpd", "TLS", "JSON", "Files", "Threads"]),
        floor("API", ["HTTP", "Jobs", "JSON", "Assets"]),
        // Floor 6: where the columns meet.
        .executableTarget(
            name: "vintner",
            dependencies: [
                "API", "HTTP", "Jobs", "Store", "Assets", "Training", "Compression", "Data", "Formats",
                "Plan", "Graph",
                "Tensor",
                "Kernels", "Host", "Files", "FailPoints", "JSON", "Threads", "TLS", log, arguments,
            ], exclude: ["README.md"], swiftSettings: strict),
        // Tests.
        .target(
            name: "TestSupport", dependencies: ["Formats", "Graph", "Tensor", "JSON"],
            path: "Tests/TestSupport",
            // Finite differences run the double-precision model thousands of times, in debug builds too.
            swiftSettings: strict + [.unsafeFlags(["-O"])]),
        tests(of: "JSON"),
        tests(of: "FailPoints"),
        tests(of: "Threads"),
        tests(of: "Files", ["CZlib"]),
        tests(of: "Host"),
        tests(of: "Tensor"),
        tests(of: "Kernels", ["Tensor", "JSON"]),
        tests(of: "Graph", ["Tensor", "JSON"]),
        tests(of: "Plan", ["Graph", "Kernels", "Tensor", "JSON"]),
        tests(of: "Data", ["Tensor", "JSON", "Files"]),
        tests(of: "Formats", ["JSON", "Files"]),
        tests(of: "Compression", ["Graph", "Tensor", "JSON"]),
        tests(
            of: "Training",
            ["Compression", "Plan", "Kernels", "Graph", "Data", "Formats", "Tensor", "JSON", "Files"]),
        tests(of: "Jobs", ["JSON"]),
        tests(of: "Store", ["Jobs", "JSON", "Threads", grdb]),
        tests(of: "HTTP", ["JSON", "TLS"]),
        tests(of: "API", ["Assets", "HTTP", "Jobs", "JSON", "Store"]),
        tests(of: "Assets"),
        tests(
            of: "vintner",
            [
                "HTTP", "Jobs", "Store", "Training", "Compression", "Plan", "Graph", "Data", "Tensor",
                "Files", "JSON", "Threads", log,
            ]),
        .testTarget(name: "ArchitectureTests", swiftSettings: strict),
        fuzz,
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .gnu2x
)
