import CKernels

/// A 3×3 convolution with zero padding over images with channels last, by Winograd's minimal filtering
/// (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks"): tiles of 4 × 4 results
/// take 36 products a channel instead of 144.
///
/// Its results differ from those of `Convolution` by rounding; `ck_winograd_apply` states the bound.
final class WinogradConvolution: Sendable {
  let inputs: Int
  let outputs: Int
  /// Never written to after `init`, and freed by `deinit` alone.
  private nonisolated(unsafe) let handle: OpaquePointer

  /// Rows of a result that are computed together. Calls begin at multiples of it, for results that do
  /// not depend on how rows are divided among calls.
  static let tileHeight = Int(CK_WINOGRAD_TILE)

  /// Whether the method is faster than the direct one for a convolution of this shape.
  static func pays(for shape: ConvolutionShape) -> Bool { shape.isSimple && shape.inputs >= 8 }

  /// - Parameters:
  ///   - weight: `[outputs, inputs, 3, 3]`, row-major.
  ///   - bias: `[outputs]`; `nil` for no bias.
  init(weight: [Float], bias: [Float]?, outputs: Int, inputs: Int) {
    precondition(weight.count == outputs * inputs * 9 && (bias?.count ?? outputs) == outputs)
    guard let handle = ck_winograd_create(weight, bias, outputs, inputs) else {
      fatalError("out of memory for a convolution of \(outputs) × \(inputs) × 3 × 3")
    }
    self.handle = handle
    self.inputs = inputs
    self.outputs = outputs
  }

  deinit { ck_winograd_destroy(handle) }

  /// Floats of scratch memory that a call takes.
  var scratchCount: Int { ck_winograd_scratch_count(handle) }

  /// The parts in which filters can be evaluated, for several threads.
  var panelCount: Int { ck_winograd_panel_count(handle) }
  /// Floats of memory for the values of all filters: four times as many as the filters themselves have.
  var valueCount: Int { ck_winograd_value_count(handle) }

  /// Writes the values of some filters.
  ///
  /// - Parameter values: `valueCount` floats.
  func evaluate(_ panels: Range<Int>, to values: UnsafeMutablePointer<Float>) {
    precondition(panels.lowerBound >= 0 && panels.upperBound <= panelCount)
    ck_winograd_evaluate(handle, panels.lowerBound, panels.count, values)
  }

  /// Computes some rows of the output, as `Convolution.apply` does.
  ///
  /// - Parameters:
  ///   - values: the values of all filters.
  ///   - scratch: `scratchCount` floats, used by this thread alone.
  func apply(
    values: UnsafePointer<Float>, height: Int, width: Int, rows: Range<Int>,
    _ x: UnsafePointer<Float>, stride xStride: Int,
    to y: UnsafeMutablePointer<Float>, stride yStride: Int,
    scratch: UnsafeMutablePointer<Float>
  ) {
    precondition(rows.lowerBound >= 0 && rows.upperBound <= height)
    ck_winograd_apply(
      handle, values, height, width, rows.lowerBound, rows.count, x, xStride, y, yStride, scratch)
  }
}
