import Formats
import FoundationEssentials
import Glibc
import Storage
import SuperResolution

/// A file with the state of a distillation, from which an interrupted one continues as if there had
/// been no interruption.
///
/// The safetensors file contains the parameters and both averages of the optimizer, the best
/// parameters, the numbers of steps and comparisons, the losses, and the place in the sequence of
/// patches; its metadata identifies the distillation. It is replaced as a whole or not at all.
struct DistillationCheckpoint: Sendable {
  private static let kind = "condi-convert distillation checkpoint 1"
  private static let kindKey = "kind"
  /// The longest time between saves, besides those after each comparison.
  private static let interval = Duration.seconds(60)

  let path: String
  let identity: DistillationIdentity
  private let clock = ContinuousClock()
  private var lastSave: ContinuousClock.Instant

  init(path: String, identity: DistillationIdentity) {
    self.path = path
    self.identity = identity
    lastSave = clock.now
  }

  // MARK: Writing

  /// Writes the state if it is due or `interval` has passed since it was last written.
  ///
  /// - Throws: `ModelError` when it cannot be written.
  mutating func save(_ run: DistillationRun, isDue: Bool) throws {
    guard isDue || clock.now - lastSave >= Self.interval else { return }
    try FormatRegistry.standard.write(
      archive(of: run), as: SafetensorsFormat(), to: path, replacesExisting: true)
    lastSave = clock.now
  }

  private func archive(of run: DistillationRun) throws -> TensorArchive {
    var archive = TensorArchive(metadata: [Self.kindKey: Self.kind])
    for (name, value) in identity.facts { archive.metadata[name] = value }
    func add<Element: BitwiseCopyable>(_ field: Field, _ values: [Element]) throws {
      guard let shape = Shape([values.count]) else { return }
      archive.tensors[field.rawValue] = try Tensor(
        elementType: field.elementType, shape: shape, bytes: SharedBytes(elementsOf: values))
    }
    let store = run.distillation.store
    try add(.values, store.values)
    try add(.firstMoments, store.firstMoments)
    try add(.secondMoments, store.secondMoments)
    try add(.best, run.best?.values ?? [])
    let record = run.record
    try add(
      .counts, [run.pace.stepCount, run.best?.stepCount ?? 0, record.vainComparisonCount])
    try add(
      .record,
      [
        run.pace.seconds, record.firstPSNR, record.bestPSNR, record.lastPSNR,
        record.firstLoss ?? .nan, record.lastLoss ?? .nan,
      ])
    let position = run.training.position
    try add(.generator, [Int(bitPattern: UInt(position.generatorState))])
    try add(.images, position.remaining)
    return archive
  }

  /// The arrays of the file.
  private enum Field: String {
    case values, firstMoments, secondMoments, best, counts, record, generator, images

    var elementType: ElementType {
      switch self {
      case .values, .firstMoments, .secondMoments, .best: .float32
      case .record: .float64
      case .counts, .generator, .images: .int64
      }
    }
  }

  // MARK: Reading

  /// Continues from the file, if it exists.
  ///
  /// - Throws: `ModelError` when the file cannot be read, is not a checkpoint, or belongs to
  ///   another distillation; the error then names the difference.
  func restore(_ run: inout DistillationRun) throws {
    guard FileManager.default.fileExists(atPath: path) else { return }
    let archive = try FormatRegistry.standard.open(path)
    do {
      try check(archive)
      try restore(&run, from: archive)
    } catch let error as ModelError {
      throw error.located(path: path)
    }
  }

  private func check(_ archive: TensorArchive) throws {
    guard archive.metadata[Self.kindKey] == Self.kind else {
      throw ModelError("it already exists and is not a checkpoint of a distillation")
    }
    for (name, value) in identity.facts {
      guard let found = archive.metadata[name], found == value else {
        throw ModelError(
          "it is the checkpoint of another distillation: \(name) was "
            + "\(archive.metadata[name] ?? "not given"), but is \(value)")
      }
    }
  }

  private func restore(_ run: inout DistillationRun, from archive: TensorArchive) throws {
    let store = run.distillation.store
    let count = store.values.count
    let values: [Float] = try elements(.values, archive, count: count)
    let best: [Float] = try elements(.best, archive)
    let counts: [Int] = try elements(.counts, archive, count: 3)
    let record: [Double] = try elements(.record, archive, count: 6)
    let generator: [Int] = try elements(.generator, archive, count: 1)
    let remaining: [Int] = try elements(.images, archive)
    let images = run.training.images.paths.indices
    guard best.isEmpty || best.count == count, values.allSatisfy(\.isFinite),
      best.allSatisfy(\.isFinite), counts.allSatisfy({ (0...10_000_000).contains($0) }),
      record[0] >= 0, record[0].isFinite, remaining.count <= images.count,
      remaining.allSatisfy(images.contains)
    else { throw ModelError("the checkpoint is damaged: its numbers are impossible") }
    run.distillation.store.values = values
    run.distillation.store.firstMoments = try elements(.firstMoments, archive, count: count)
    run.distillation.store.secondMoments = try elements(.secondMoments, archive, count: count)
    run.distillation.stepCount = counts[0]
    run.best = best.isEmpty ? nil : .init(values: best, stepCount: counts[1])
    run.record = .init(
      firstPSNR: record[1], bestPSNR: record[2], lastPSNR: record[3],
      firstLoss: record[4].isNaN ? nil : record[4], lastLoss: record[5].isNaN ? nil : record[5],
      vainComparisonCount: counts[2])
    run.training.position = .init(
      generatorState: UInt64(UInt(bitPattern: generator[0])), remaining: remaining)
    run.pace = Pace(run.settings.limit, stepCount: counts[0], earlierSeconds: record[0])
  }

  private func elements<Element: BitwiseCopyable>(
    _ field: Field, _ archive: TensorArchive, count: Int? = nil
  ) throws -> [Element] {
    guard let tensor = archive.tensors[field.rawValue], tensor.elementType == field.elementType,
      tensor.shape.rank == 1, count.map({ tensor.shape.elementCount == $0 }) ?? true
    else {
      throw ModelError("the checkpoint is damaged: '\(field.rawValue)' does not fit")
    }
    return try tensor.bytes().withUnsafeBytes { bytes in
      (0..<tensor.shape.elementCount).map {
        bytes.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Element>.stride, as: Element.self)
      }
    }
  }
}
