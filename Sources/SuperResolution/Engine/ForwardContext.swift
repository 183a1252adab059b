import CKernels
import LinearAlgebra

/// The context of a forward pass: its threads, its scratch memory, and the quantizers and the
/// observer of the activation sites.
///
/// Layers are written once and call `visit` at their sites. Without quantizers and an observer,
/// this costs one comparison per block of rows.
struct ForwardContext: @unchecked Sendable {
  // Unchecked because of the closures: with an observer, all work runs on the calling thread. The
  // other closures are called between passes over the image, also on the calling thread.

  typealias Observer = (_ site: Int, _ values: UnsafeBufferPointer<Float>, _ columns: Int) throws
    -> Void

  private(set) var threads: Int
  let scratch = ScratchPool()
  /// One entry per site; empty when no site is quantized.
  var quantizers: [ck_quantizer?] = []
  var observer: Observer?
  /// The sites that the observer sees; `nil` for all.
  var observedSites: Set<Int>?
  /// Receives the output of each residual group of the body.
  var groupObserver: ((_ group: Int, _ output: FeatureMap) throws -> Void)?
  /// Receives the completed share of the work, from 0 to 1.
  var progress: ((Double) -> Void)?

  init(threads: Int) {
    self.threads = threads
  }

  /// The same context for work that is one of several threads' already.
  var onOneThread: ForwardContext {
    var context = self
    context.threads = 1
    return context
  }

  /// Whether `visit` does anything.
  var isActive: Bool { observer != nil || !quantizers.isEmpty }

  // MARK: Work

  /// Splits `0..<count` into ranges of length `stride` and calls `body` with each, on several
  /// threads.
  ///
  /// The split does not depend on the number of threads. Results are in the order of the ranges.
  ///
  /// - Parameter scratchCount: floats of scratch memory for each call.
  @discardableResult
  func map<Result: Sendable>(
    _ count: Int, by stride: Int, scratchCount: Int,
    _ body: @Sendable (Range<Int>, UnsafeMutablePointer<Float>) throws -> Result
  ) throws -> [Result] {
    let stride = max(1, stride)
    let pieces = (count + stride - 1) / stride
    return try parallelMap(count: pieces, threads: observer == nil ? threads : 1) { piece in
      let range = piece * stride..<min(count, (piece + 1) * stride)
      return try scratch.withScratch(scratchCount) { try body(range, $0) }
    }
  }

  /// Pixels that a sum over an image has at once; each of these sums has few terms, so `Float` is
  /// precise enough.
  static let summedAtOnce = 256

  /// Returns averages over the pixels of an image, the same for any number of threads.
  ///
  /// - Parameters:
  ///   - count: the number of sums.
  ///   - add: adds the values of some pixels to the sums.
  func averages(
    _ pixelCount: Int, count: Int,
    _ add: @Sendable (_ pixels: Range<Int>, _ sums: UnsafeMutablePointer<Float>) throws -> Void
  ) throws -> [Float] {
    let parts = try map(pixelCount, by: Self.summedAtOnce, scratchCount: 0) { pixels, _ in
      var sums = [Float](repeating: 0, count: count)
      try sums.withUnsafeMutableBufferPointer { sums in
        if let start = sums.baseAddress { try add(pixels, start) }
      }
      return sums
    }
    var totals = [Double](repeating: 0, count: count)
    for part in parts {
      for (index, sum) in part.enumerated() { totals[index] += Double(sum) }
    }
    return totals.map { Float($0 / Double(pixelCount)) }
  }

  // MARK: Sites

  /// Whether `visit` does anything at a site.
  func isVisited(_ site: Int) -> Bool {
    quantizer(at: site) != nil || isObserved(site)
  }

  func isObserved(_ site: Int) -> Bool {
    observer != nil && observedSites?.contains(site) ?? true
  }

  /// Quantizes `rows` rows of values at a site, then shows them to the observer.
  func visit(
    _ site: Int, _ values: UnsafeMutablePointer<Float>, rows: Int, columns: Int, stride: Int
  ) throws {
    guard isActive else { return }
    if !quantizers.isEmpty, var quantizer = quantizers[site] {
      ck_quantize(&quantizer, values, rows, columns, stride)
    }
    try show(site, values, rows: rows, columns: columns, stride: stride)
  }

  /// Copies rows of values next to one another, quantizing them at a site, then shows the copy to the
  /// observer.
  func visit(
    _ site: Int, copying x: UnsafePointer<Float>, rows: Int, columns: Int, stride: Int,
    to copy: UnsafeMutablePointer<Float>
  ) throws {
    if var quantizer = quantizer(at: site) {
      ck_quantize_to(&quantizer, x, rows, columns, stride, copy, columns)
    } else {
      for row in 0..<rows {
        (copy + row * columns).update(from: x + row * stride, count: columns)
      }
    }
    try show(site, copy, rows: rows, columns: columns, stride: columns)
  }

  private func show(
    _ site: Int, _ values: UnsafeMutablePointer<Float>, rows: Int, columns: Int, stride: Int
  ) throws {
    guard let observer, isObserved(site) else { return }
    if stride == columns {
      return try observer(site, UnsafeBufferPointer(start: values, count: rows * columns), columns)
    }
    try scratch.withScratch(rows * columns) { dense in
      for row in 0..<rows {
        (dense + row * columns).update(from: values + row * stride, count: columns)
      }
      try observer(site, UnsafeBufferPointer(start: dense, count: rows * columns), columns)
    }
  }

  /// Applies a linear layer after visiting its site: in integer arithmetic where possible,
  /// otherwise in floating point on the quantized values.
  ///
  /// - Parameters:
  ///   - site: `nil` where the input is neither quantized nor observed.
  ///   - x: as for `Linear.apply`; without a copy, its values are undefined afterwards.
  ///   - copy: `rows` rows of the layer's inputs, for the quantized values.
  ///   - y: may be the epilogue's residual, but not `x`.
  func apply(
    _ layer: SiteLinear, at site: Int?, rows: Int, _ x: UnsafeMutablePointer<Float>,
    stride xStride: Int, copyingTo copy: UnsafeMutablePointer<Float>? = nil,
    to y: UnsafeMutablePointer<Float>, stride yStride: Int, then epilogue: Epilogue = .none
  ) throws {
    switch layer {
    case .codes(let layer):
      layer.apply(rows: rows, x, stride: xStride, to: y, stride: yStride, then: epilogue)
    case .values(let layer):
      var (x, xStride) = (x, xStride)
      if let site, isVisited(site) {
        if let copy {
          try visit(
            site, copying: x, rows: rows, columns: layer.inputs, stride: xStride, to: copy)
          (x, xStride) = (copy, layer.inputs)
        } else {
          try visit(site, x, rows: rows, columns: layer.inputs, stride: xStride)
        }
      }
      layer.apply(rows: rows, x, stride: xStride, to: y, stride: yStride, then: epilogue)
    }
  }

  /// Returns the quantizer of a site, if it has one.
  func quantizer(at site: Int) -> ck_quantizer? {
    quantizers.isEmpty ? nil : quantizers[site]
  }
}
