import Formats
import FoundationEssentials
import LinearAlgebra
import Ranks
import Storage
import SuperResolution
import Transform

/// The contents of a model file by layer, with the singular values of its weight matrices.
///
/// ```swift
/// var options = ModelReport.Options()
/// options.sortKey = .condition
/// options.isDescending = true
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let report = try ModelReport(archive: archive, file: "model.pth", options: options)
/// print(try report.rendered(as: .text, rowLimit: 10))
/// ```
public struct ModelReport: Codable, Hashable, Sendable {
  /// The version of the JSON form, `schemas/model-report.schema.json`.
  package static let currentSchemaVersion = 1

  /// The version of the JSON form.
  public var schemaVersion = Self.currentSchemaVersion
  /// The path as the user gave it.
  public var file: String
  /// `FormatIdentifier.name`; `nil` for archives made in memory.
  public var format: String?
  /// The network that the tensors are those of, if that can be told: a super-resolution network with
  /// its scale and configuration, or what the file's metadata, the configuration beside it or the
  /// names of tensors say, with that source.
  public var network: String?
  /// The file's length; `nil` if unknown.
  public var fileByteCount: Int?
  /// The number of tensors named in the file, listed below or not.
  public var tensorCount: Int
  /// The bytes of all tensors, counted once per name.
  public var tensorByteCount: Int
  /// The number of elements of all floating-point and complex tensors. A file does not distinguish
  /// buffers from parameters.
  public var parameterCount: Int
  /// A summary of the condition numbers listed below; `nil` if there are none.
  public var condition: ConditionSummary?
  /// The path of the model that the layers are compared with.
  public var referenceFile: String?
  /// The condition numbers of the layers' counterparts in the reference.
  public var referenceCondition: ConditionSummary?
  /// The compression of a packed file; `nil` for other files.
  public var packed: PackedSummary?
  /// The results of the rules; `nil` if there were none.
  package var rules: [RuleOutcome]?
  /// The path of the calibration; `nil` without one.
  package var calibrationFile: String?
  /// The listed matrices whose outputs' loss cannot be predicted, because the calibration has no
  /// moments of their inputs; `nil` if there are none.
  package var unpredicted: [String]?
  /// The parts of the file that could not be read; `nil` if there are none.
  public var unread: [UnreadEntry]?
  /// Stored tensors that belong together, whether assembled or not; `nil` if there are none.
  public var groups: [TensorGroup]?
  /// The sort key of the layers, as `SortKey.rawValue`.
  public var sortedBy: String
  /// The selected tensors, in the requested order.
  public var layers: [LayerReport]
  /// Whether plain text lists all layers, and does not count those without a matrix by group.
  package var listsAll = false

  private enum CodingKeys: String, CodingKey {
    case schemaVersion, file, format, network, fileByteCount, tensorCount, tensorByteCount,
      parameterCount, condition, referenceFile, referenceCondition, packed, rules, calibrationFile,
      unpredicted, unread, groups, sortedBy, layers
  }

  /// Whether all rules passed.
  public var isPassed: Bool { rules?.allSatisfy(\.isPassed) ?? true }
}

/// A summary of a model's condition numbers.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// if let summary = try ModelReport(archive: archive, file: "model.pth").condition {
///   print(summary.mean ?? .infinity, summary.maximumLayer ?? "", summary.rankDeficientCount)
/// }
/// ```
public struct ConditionSummary: Codable, Hashable, Sendable {
  /// The number of matrices with a condition number, finite or not.
  public var matrixCount: Int
  /// The number of infinite condition numbers, which the following quantities exclude.
  public var rankDeficientCount: Int
  /// The arithmetic mean, by which the CondiQuant paper compares models.
  public var mean: Double?
  /// The median of the finite ones; for an even count, the mean of the middle two.
  public var median: Double?
  /// The largest of the finite ones; `nil` if none are finite.
  public var maximum: Double?
  /// The tensor (and part) with the maximum.
  public var maximumLayer: String?

  /// Summarizes `layers`.
  ///
  /// - Returns: `nil` if no layer has a condition number.
  init?(of layers: [LayerReport], condition: (LayerReport) -> Double?) {
    let all = layers.compactMap { layer in
      condition(layer).map { (title: layer.title, value: $0) }
    }
    guard !all.isEmpty else { return nil }
    let finite = all.filter(\.value.isFinite).sorted { $0.value < $1.value }
    matrixCount = all.count
    rankDeficientCount = all.count - finite.count
    guard let greatest = finite.last else { return }
    mean = finite.reduce(0) { $0 + $1.value / Double(finite.count) }
    let upper = finite[finite.count / 2].value
    let lower = finite[(finite.count - 1) / 2].value
    median = lower + (upper - lower) / 2
    maximum = greatest.value
    maximumLayer = greatest.title
  }
}

extension ModelReport {
  /// The relative error of σ_max and σ_min when only these are computed.
  package static let extremesError = ExtremeSingularValues.relativeError

  /// The selection of layers to inspect and the format of the list.
  public struct Options: Sendable {
    /// Patterns of the tensors to list; empty for all.
    public var layers: [NameGlob] = []
    /// The sort key of the layers.
    public var sortKey = SortKey.file
    /// Whether to sort in descending order.
    public var isDescending = false
    /// Whether to treat q, k and v of a fused weight as three matrices.
    public var splitsFusedQKV = false
    /// Whether to list all singular values of each layer.
    public var includesSingularValues = false
    /// Whether to compute only σ_max and σ_min, which is several times as fast.
    public var onlyExtremes = false
    /// The grid on which four-dimensional weights are treated as circular convolutions; `nil`
    /// treats them as matrices.
    package var convolutionGrid: ConvolutionOperator.Grid?
    /// The group counts of convolutions with matching names, for circular convolutions. The first
    /// matching pattern applies, and each must match a four-dimensional weight.
    public var convolutionGroups: [(glob: NameGlob, count: Int)] = []
    /// The model that the layers are compared with, and its path for the report.
    public var reference: (file: String, archive: TensorArchive)?
    /// Statistics of the layers' inputs, by which the loss of their outputs is predicted, and their
    /// path for the report.
    package var calibrated: (file: String, calibration: Calibration)?
    var calibration: Calibration? { calibrated?.calibration }
    /// Whether plain text lists all layers one by one.
    package var listsAll = false
    /// Conditions that no layer may meet; the report's `rules` lists the layers that do.
    package var rules: [MetricRule] = []
    /// The memory limit in bytes. A matrix that needs more is not decomposed, as its layer's note
    /// says.
    public var memoryLimit = Int(clamping: ProcessInfo.processInfo.physicalMemory)
    /// The number of threads, at least 1. Memory is bounded by this many of the largest matrices.
    public var threads = ProcessInfo.processInfo.activeProcessorCount
    /// The ranks that share the layers; every rank obtains the whole report.
    package var ranks = RankGroup.alone

    public init() {}
  }

  /// Inspects `archive`.
  ///
  /// Matrices are distributed over the threads, the most expensive first. A matrix that would keep
  /// the other threads waiting is computed alone, with all threads inside BLAS; the last digits of
  /// its singular values may depend on the number of threads.
  ///
  /// - Parameters:
  ///   - file: The path, for the report.
  ///   - fileByteCount: The file's length, for the report.
  ///   - progress: Called on any thread after each tensor, with its name.
  /// - Throws: `ModelError` if a tensor cannot be read or a glob matches none. Non-finite elements
  ///   are not an error: the layer's note names the first.
  public init(
    archive: TensorArchive, file: String, fileByteCount: Int? = nil, options: Options = Options(),
    progress: (@Sendable (_ tensor: String) -> Void)? = nil
  ) throws {
    let positions = Dictionary(
      uniqueKeysWithValues: archive.tensors.keys.enumerated().map { ($1, $0) })
    let names = try archive.tensors.keys.matching(options.layers)
    let remarks = archive.groups.descriptions
    let obstacles = archive.groups.codeObstacles
    let convolutions =
      try options.convolutionGrid == nil
      ? nil : ConvolutionGroups(archive, given: options.convolutionGroups)
    try options.calibration?.check(against: archive)
    let products = Self.products(in: archive)
    let inspections = try names.flatMap { name -> [LayerInspection] in
      guard let tensor = archive.tensors[name] else { return [] }
      let position = positions[name] ?? 0
      let product = try products[name].map {
        try LayerInspection(product: $0, position: position, options: options)
      }
      return [product].compactMap { $0 } + [
        LayerInspection(
          name: name, position: position, tensor: tensor, options: options,
          composition: remarks[name], codeObstacle: obstacles[name],
          convolution: try convolutions?.decision(on: name, tensor),
          counterpart: options.reference.flatMap {
            Self.counterpart(of: name, tensor, in: $0.archive)
          })
      ]
    }
    let references = options.reference.map { Self.counterparts(of: inspections, in: $0.archive) }
    var layers = try Self.run(
      inspections + (references ?? []),
      sharedAmong: Workers(threads: options.threads, ranks: options.ranks), progress: progress)
    let referenceStart = inspections.reduce(0) { $0 + $1.parts.count }
    if references != nil {
      let counterparts = Dictionary(
        uniqueKeysWithValues: layers[referenceStart...].map { ($0.identity, $0.asReference) })
      layers.removeSubrange(referenceStart...)
      for index in layers.indices { layers[index].reference = counterparts[layers[index].identity] }
    }
    let parameters = archive.tensors.values.filter {
      $0.elementType.isFloatingPoint || $0.elementType.isComplex
    }
    self.init(
      file: file, format: archive.format?.name,
      network: SuperResolutionNetwork.summary(of: archive) ?? ModelFamily(of: archive)?.description,
      fileByteCount: fileByteCount,
      tensorCount: archive.tensors.count, tensorByteCount: archive.tensorByteCount,
      parameterCount: parameters.reduce(0) { $0 + $1.shape.elementCount },
      condition: ConditionSummary(of: layers) { $0.conditionNumber },
      referenceFile: options.reference?.file,
      referenceCondition: ConditionSummary(of: layers) { $0.reference?.conditionNumber },
      packed: nil,
      rules: options.rules.isEmpty
        ? nil : try options.rules.map { try RuleOutcome(of: $0, on: layers) },
      calibrationFile: options.calibrated?.file,
      unpredicted: options.calibration == nil
        ? nil
        : layers.filter { $0.conditionNumber != nil && $0.outputOutlook == nil }.map(\.title)
          .nilIfEmpty,
      unread: archive.unread.nilIfEmpty,
      groups: archive.groups.nilIfEmpty, sortedBy: options.sortKey.rawValue,
      layers: Self.sorted(layers, by: options.sortKey, isDescending: options.isDescending),
      listsAll: options.listsAll)
  }

  /// Returns the pairs of LoRA factors in `archive` by the first of their tensors; none if a tensor
  /// has the name of a module.
  private static func products(in archive: TensorArchive) -> [String: LowRankPair] {
    guard archive.groups.contains(where: { $0.kind == .lowRank }),
      let adapter = try? LowRankAdapter(besideConfigurationOf: archive)
    else { return [:] }
    let order = archive.tensors.keys
    return adapter.pairs.reduce(into: [:]) { products, pair in
      guard archive.tensors[pair.module] == nil,
        let first = pair.parts.compactMap({ order.firstIndex(of: $0) }).min()
      else { return }
      products[order[first]] = pair
    }
  }

  /// Returns the tensor of the same name and shape whose elements can be read as numbers.
  private static func counterpart(
    of name: String, _ tensor: Tensor, in reference: TensorArchive
  ) -> Tensor? {
    guard let counterpart = reference.tensors[name], counterpart.shape == tensor.shape,
      counterpart.elementType.isFloatingPoint, counterpart.unreadableType == nil,
      !reference.groups.contains(where: { $0.obstacle != nil && $0.parts.contains(name) })
    else { return nil }
    return counterpart
  }

  /// Returns the tensors of `archive` with the same names and shapes.
  private static func counterparts(
    of inspections: [LayerInspection], in archive: TensorArchive
  ) -> [LayerInspection] {
    let obstacles = archive.groups.codeObstacles
    return inspections.compactMap { inspection in
      guard let tensor = archive.tensors[inspection.name], tensor.shape == inspection.tensor.shape
      else { return nil }
      var options = inspection.options
      options.includesSingularValues = false
      return LayerInspection(
        name: inspection.name, position: inspection.position, tensor: tensor, options: options,
        codeObstacle: obstacles[inspection.name], convolution: inspection.convolution)
    }
  }

  /// Returns the reports of all inspections, in order.
  private static func run(
    _ inspections: [LayerInspection], sharedAmong workers: Workers,
    progress: (@Sendable (_ tensor: String) -> Void)?
  ) throws -> [LayerReport] {
    let costs = inspections.map(\.cost)
    // Sorting by cost, then by position, makes the order independent of the sort's stability.
    let order = inspections.indices.sorted { (costs[$1], $0) < (costs[$0], $1) }
    let aloneCount = leadingGiants(order.map { costs[$0] }, threads: workers.threads)
    func reports(
      at positions: Range<Int>, sharedAmong workers: Workers
    ) throws -> [[LayerReport]] {
      let shared = order[positions].map { inspections[$0] }
      return try workers.mapMatrices(
        ofElementCounts: shared.map(\.tensor.shape.elementCount),
        progress: { progress?(shared[$0].name) }, { try shared[$0].reports() })
    }

    BLASThreads.setMaximum(workers.threads)
    let alone = try reports(
      at: 0..<aloneCount, sharedAmong: Workers(threads: 1, ranks: workers.ranks))
    let together = try reports(at: aloneCount..<order.count, sharedAmong: workers)

    var reports = [[LayerReport]](repeating: [], count: inspections.count)
    for (index, layers) in zip(order, alone + together) { reports[index] = layers }
    return reports.flatMap { $0 }
  }

  /// Returns how many of the descending `costs` exceed a thread's fair share of the remainder by so
  /// much that threads inside BLAS, despite their imperfect speedup, are the better choice.
  static func leadingGiants(_ costs: [Double], threads: Int) -> Int {
    guard threads > 1 else { return 0 }
    var remaining = costs.reduce(0, +)
    var count = 0
    while count < costs.count, costs[count] > remaining / (Double(threads) - 0.5),
      costs[count] >= smallestGiant
    {
      remaining -= costs[count]
      count += 1
    }
    return count
  }

  /// The cost of a square matrix of order 512, below which threads inside BLAS do not pay off.
  private static let smallestGiant = 512.0 * 512 * 512
}

extension ModelReport {
  /// The sort key of layers. Layers without the quantity come last in either direction, and equal
  /// ones keep the file's order.
  public enum SortKey: Hashable, Sendable {
    /// The order of the file.
    case file
    /// The name, then the part.
    case name
    /// A metric of each layer.
    case metric(LayerMetric)

    /// The condition number.
    public static let condition = SortKey.metric(.condition)
  }

  static func sorted(
    _ layers: [LayerReport], by key: SortKey, isDescending: Bool
  ) -> [LayerReport] {
    switch key {
    case .file: isDescending ? layers.reversed() : layers
    case .name: sorted(layers, isDescending) { $0.title }
    case .metric(let metric): sorted(layers, isDescending) { metric.value(of: $0) }
    }
  }

  private static func sorted<Value: Comparable>(
    _ layers: [LayerReport], _ isDescending: Bool, by value: (LayerReport) -> Value?
  ) -> [LayerReport] {
    let keyed = layers.enumerated().map { (position: $0, value: value($1), layer: $1) }
    return keyed.sorted { left, right in
      switch (left.value, right.value) {
      case (let x?, let y?) where x != y: isDescending ? x > y : x < y
      case (.some, nil): true
      case (nil, .some): false
      default: left.position < right.position
      }
    }.map(\.layer)
  }
}

extension ModelReport.SortKey: RawRepresentable, CaseIterable {
  public static let allCases = [.file, .name] + LayerMetric.allCases.map { Self.metric($0) }

  public init?(rawValue: String) {
    switch rawValue {
    case "file": self = .file
    case "name": self = .name
    default:
      guard let metric = LayerMetric(rawValue: rawValue) else { return nil }
      self = .metric(metric)
    }
  }

  public var rawValue: String {
    switch self {
    case .file: "file"
    case .name: "name"
    case .metric(let metric): metric.rawValue
    }
  }
}
