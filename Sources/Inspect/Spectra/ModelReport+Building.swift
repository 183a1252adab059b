import Formats
import Foundation
import LinearAlgebra

extension ModelReport {
  /// What the layers are ordered by. Layers without the quantity come last in either direction,
  /// and equal ones keep the file's order.
  public enum SortKey: String, Sendable, CaseIterable {
    case file, name, bytes, elements, condition
    case sigmaMax = "sigma-max"
    case sigmaMin = "sigma-min"
    case stableRank = "stable-rank"
    case effectiveRank = "effective-rank"
  }

  /// What is inspected, and how it is listed.
  public struct Options: Sendable {
    /// Tensors to list; all of them when empty.
    public var layers: [NameGlob] = []
    public var sortKey = SortKey.file
    public var isDescending = false
    /// Whether q, k and v of a fused weight are three matrices.
    public var splitsFusedQKV = false
    /// Whether each layer lists all its singular values.
    public var includesSingularValues = false
    /// At least 1. Memory is bounded by so many of the largest matrices.
    public var threads = ProcessInfo.processInfo.activeProcessorCount

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
  /// - Throws: `FormatError` when a tensor cannot be read, or a glob matches none. Non-finite
  ///   elements are no error: the layer's note names the first.
  public init(
    archive: TensorArchive, file: String, fileByteCount: Int? = nil, options: Options = Options(),
    progress: (@Sendable (_ tensor: String) -> Void)? = nil
  ) throws {
    let names = try archive.tensors.keys.matching(options.layers)
    let inspections = names.compactMap { name in
      archive.tensors[name].map {
        LayerInspection(
          name: name, tensor: $0, splitsFusedQKV: options.splitsFusedQKV,
          includesSingularValues: options.includesSingularValues)
      }
    }
    let layers = try Self.run(inspections, threads: options.threads, progress: progress)
    let parameters = archive.tensors.values.filter {
      $0.elementType.isFloatingPoint || $0.elementType.isComplex
    }
    self.init(
      file: file, format: archive.format?.name, fileByteCount: fileByteCount,
      tensorCount: archive.tensors.count, tensorByteCount: archive.tensorByteCount,
      parameterCount: parameters.reduce(0) { $0 + $1.shape.elementCount },
      condition: ConditionSummary(of: layers), packed: nil,
      layers: Self.sorted(layers, by: options.sortKey, isDescending: options.isDescending))
  }

  /// The reports of all inspections, in their order.
  private static func run(
    _ inspections: [LayerInspection], threads: Int,
    progress: (@Sendable (_ tensor: String) -> Void)?
  ) throws -> [LayerReport] {
    let costs = inspections.map(\.cost)
    // Sorting by cost, then by position, does not depend on the sort's stability.
    let order = inspections.indices.sorted { (costs[$1], $0) < (costs[$0], $1) }
    let aloneCount = leadingGiants(order.map { costs[$0] }, threads: threads)
    @Sendable func report(_ index: Int) throws -> [LayerReport] {
      let reports = try inspections[index].reports()
      progress?(inspections[index].name)
      return reports
    }

    BLASThreads.setMaximum(threads)
    let alone = try order[..<aloneCount].map(report)
    let rest = order[aloneCount...].map { $0 }
    let together = try parallelMap(count: rest.count, threads: threads) { try report(rest[$0]) }

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

  private static func sorted(
    _ layers: [LayerReport], by key: SortKey, isDescending: Bool
  ) -> [LayerReport] {
    switch key {
    case .file: isDescending ? layers.reversed() : layers
    case .name: sorted(layers, isDescending) { $0.title }
    case .bytes: sorted(layers, isDescending) { $0.byteCount }
    case .elements: sorted(layers, isDescending) { $0.elementCount }
    case .condition: sorted(layers, isDescending) { $0.conditionNumber }
    case .sigmaMax: sorted(layers, isDescending) { $0.sigmaMax }
    case .sigmaMin: sorted(layers, isDescending) { $0.sigmaMin }
    case .stableRank: sorted(layers, isDescending) { $0.stableRank }
    case .effectiveRank: sorted(layers, isDescending) { $0.effectiveRank }
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
