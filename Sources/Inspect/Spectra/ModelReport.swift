import Formats
import FoundationEssentials
import LinearAlgebra
import Ranks
import Storage

/// What a model file holds, layer by layer, with the singular values of its weight matrices.
public struct ModelReport: Codable, Hashable, Sendable {
  /// The version of the JSON form, `schemas/model-report.schema.json`.
  package static let currentSchemaVersion = 1

  /// The version of the JSON form.
  public var schemaVersion = Self.currentSchemaVersion
  /// The path as the user gave it.
  public var file: String
  /// `FormatIdentifier.name`; `nil` for archives made in memory.
  public var format: String?
  /// The file's length; `nil` when the caller did not say.
  public var fileByteCount: Int?
  /// How many tensors the file names, listed below or not.
  public var tensorCount: Int
  /// Bytes of all tensors, each counted as often as it is named.
  public var tensorByteCount: Int
  /// Elements of all floating-point and complex tensors; a file does not tell buffers from
  /// parameters.
  public var parameterCount: Int
  /// The condition numbers listed below, in short; `nil` when there is none.
  public var condition: ConditionSummary?
  /// The path of the model that the layers are set beside.
  public var referenceFile: String?
  /// The condition numbers of the layers' counterparts in the reference.
  public var referenceCondition: ConditionSummary?
  /// What a packed file saves; `nil` for other files.
  public var packed: PackedSummary?
  /// What became of the rules; `nil` when there were none.
  public var rules: [RuleOutcome]?
  /// What could not be read of the file; `nil` where that is nothing.
  public var unread: [UnreadEntry]?
  /// Stored tensors that belong together, put together or not; `nil` where there are none.
  public var groups: [TensorGroup]?
  /// What the layers are ordered by, as `SortKey.rawValue`.
  public var sortedBy: String
  /// The selected tensors, in the order asked for.
  public var layers: [LayerReport]

  /// Whether no layer meets a rule.
  public var isPassed: Bool { rules?.allSatisfy(\.isPassed) ?? true }
}

/// The condition numbers of a model in a few numbers.
public struct ConditionSummary: Codable, Hashable, Sendable {
  /// How many matrices have a condition number, finite or not.
  public var matrixCount: Int
  /// How many of them are infinite; the following quantities leave them out.
  public var rankDeficientCount: Int
  /// The arithmetic mean, by which the CondiQuant paper compares models.
  public var mean: Double?
  /// The median of the finite ones; of an even count, the mean of the middle two.
  public var median: Double?
  /// The largest of the finite ones; `nil` when none is finite.
  public var maximum: Double?
  /// The tensor (and part) that has the maximum.
  public var maximumLayer: String?

  /// - Returns: `nil` when no layer has a condition number.
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
  /// The relative error of σ_max and σ_min when they alone are computed.
  package static let extremesError = ExtremeSingularValues.relativeError

  /// What is inspected, and how it is listed.
  public struct Options: Sendable {
    /// Tensors to list; all of them when empty.
    public var layers: [NameGlob] = []
    /// What layers are ordered by.
    public var sortKey = SortKey.file
    /// Whether the largest come first.
    public var isDescending = false
    /// Whether q, k and v of a fused weight are three matrices.
    public var splitsFusedQKV = false
    /// Whether each layer lists all its singular values.
    public var includesSingularValues = false
    /// Whether only σ_max and σ_min are computed, which is several times as fast.
    public var onlyExtremes = false
    /// The grid on which weights of four dimensions are seen as circular convolutions; as matrices
    /// otherwise.
    public var convolutionGrid: ConvolutionOperator.Grid?
    /// Groups of convolutions whose names match, where they are seen as circular convolutions: the
    /// first pattern that matches decides, and each must match a weight of four dimensions.
    public var convolutionGroups: [(glob: NameGlob, count: Int)] = []
    /// The model that the layers are set beside, with the path for the report.
    public var reference: (file: String, archive: TensorArchive)?
    /// Conditions that no layer may meet; the report's `rules` says which layers do.
    public var rules: [MetricRule] = []
    /// A matrix that would take more bytes than this is not decomposed, which its layer's note says.
    public var memoryLimit = Int(clamping: ProcessInfo.processInfo.physicalMemory)
    /// Threads that decompose, at least 1. Memory is bounded by so many of the largest matrices.
    public var threads = ProcessInfo.processInfo.activeProcessorCount
    /// Who shares the layers; every rank has the whole report in the end.
    package var ranks = RankGroup.alone

    public init() {}
  }

  /// Inspects `archive`.
  ///
  /// Matrices are spread over the threads, the most expensive first; one for which the other
  /// threads would have to wait is computed alone, with all threads inside BLAS. The last digits of
  /// its singular values may depend on the number of threads.
  ///
  /// - Parameters:
  ///   - file: the path, for the report.
  ///   - fileByteCount: bytes of the file, for the report.
  ///   - progress: called on any thread after each tensor, with its name.
  /// - Throws: `ModelError` when a tensor cannot be read, or a glob matches none. Non-finite
  ///   elements are no error: the layer's note names the first.
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
    let inspections = try names.compactMap { name in
      try archive.tensors[name].map { tensor in
        LayerInspection(
          name: name, position: positions[name] ?? 0, tensor: tensor, options: options,
          composition: remarks[name], codeObstacle: obstacles[name],
          convolution: try convolutions?.decision(on: name, tensor))
      }
    }
    let references = options.reference.map { Self.counterparts(of: inspections, in: $0.archive) }
    var layers = try Self.run(
      inspections + (references ?? []), ranks: options.ranks, threads: options.threads,
      progress: progress)
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
      file: file, format: archive.format?.name, fileByteCount: fileByteCount,
      tensorCount: archive.tensors.count, tensorByteCount: archive.tensorByteCount,
      parameterCount: parameters.reduce(0) { $0 + $1.shape.elementCount },
      condition: ConditionSummary(of: layers) { $0.conditionNumber },
      referenceFile: options.reference?.file,
      referenceCondition: ConditionSummary(of: layers) { $0.reference?.conditionNumber },
      packed: nil,
      rules: options.rules.isEmpty
        ? nil : try options.rules.map { try RuleOutcome(of: $0, on: layers) },
      unread: archive.unread.nilIfEmpty,
      groups: archive.groups.nilIfEmpty, sortedBy: options.sortKey.rawValue,
      layers: Self.sorted(layers, by: options.sortKey, isDescending: options.isDescending))
  }

  /// The tensors of `archive` with the same names and shapes.
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

  /// The reports of all inspections, in their order.
  private static func run(
    _ inspections: [LayerInspection], ranks: RankGroup, threads: Int,
    progress: (@Sendable (_ tensor: String) -> Void)?
  ) throws -> [LayerReport] {
    let costs = inspections.map(\.cost)
    let budget = MemoryBudget.forMatrices(
      ofElementCounts: inspections.map(\.tensor.shape.elementCount))
    // Sorting by cost, then by position, does not depend on the sort's stability.
    let order = inspections.indices.sorted { (costs[$1], $0) < (costs[$0], $1) }
    let aloneCount = leadingGiants(order.map { costs[$0] }, threads: threads)
    func reports(at positions: Range<Int>, threads: Int) throws -> [[LayerReport]] {
      let indices = order[positions].map { $0 }
      return try ranks.map(
        count: indices.count, threads: threads,
        progress: { progress?(inspections[indices[$0]].name) },
        { index in
          let inspection = inspections[indices[index]]
          return try budget.using(elementCount: inspection.tensor.shape.elementCount) {
            try inspection.reports()
          }
        })
    }

    BLASThreads.setMaximum(threads)
    let alone = try reports(at: 0..<aloneCount, threads: 1)
    let together = try reports(at: aloneCount..<order.count, threads: threads)

    var reports = [[LayerReport]](repeating: [], count: inspections.count)
    for (index, layers) in zip(order, alone + together) { reports[index] = layers }
    return reports.flatMap { $0 }
  }

  /// How many of the descending `costs` exceed a thread's fair share of what is left, so far that
  /// threads inside BLAS, which gain less than their number, are the better use.
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

  /// Below a square matrix of 512, threads inside BLAS cost more than they gain.
  private static let smallestGiant = 512.0 * 512 * 512
}

extension ModelReport {
  /// What the layers are ordered by. Layers without the quantity come last in either direction,
  /// and equal ones keep the file's order.
  public enum SortKey: Hashable, Sendable {
    /// The order of the file.
    case file
    /// The name, and the part behind it.
    case name
    /// A number of each layer.
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
