import Storage

/// The method that turns features into the result, in SwinIR and the networks that follow it.
enum Upsampler: String, Hashable {
  case pixelShuffleDirect = "pixelshuffledirect"
  case pixelShuffle = "pixelshuffle"
  /// With a bicubic image beside the features.
  case pixelShuffleBeside = "pixelshuffle_aux"
  case nearestConvolution = "nearest+conv"
  /// Denoising and removal of JPEG artifacts: the network's output is added to the image.
  case none

  init(_ weights: WeightReader) {
    self =
      if weights.contains("conv_bicubic.weight") {
        .pixelShuffleBeside
      } else if weights.contains("conv_up1.weight") {
        .nearestConvolution
      } else if weights.contains("conv_before_upsample.0.weight") {
        .pixelShuffle
      } else if weights.contains("upsample.0.weight") {
        .pixelShuffleDirect
      } else {
        .none
      }
  }
}

// What SwinIR shares with the networks that follow it.
extension NetworkBuilder {
  /// Applies the end of a residual group and of the body: one convolution, or three with a narrow
  /// middle (`1conv` and `3conv` of the original programs).
  mutating func residualConvolution(_ x: Value, _ name: String) throws -> Value {
    guard !contains("\(name).weight"), contains("\(name).0.weight") else {
      return try convolution(x, name, outputs: x.channels, side: 3)
    }
    let narrow = max(1, x.channels / 4)
    var made = try activatedConvolution(x, "\(name).0", outputs: narrow, slope: 0.2)
    made = apply(
      .leakyReLU(slope: 0.2), to: try convolution(made, "\(name).2", outputs: narrow, side: 1))
    return try convolution(made, "\(name).4", outputs: x.channels, side: 3)
  }

  mutating func activatedConvolution(
    _ x: Value, _ name: String, outputs: Int? = nil, slope: Float
  ) throws -> Value {
    apply(.leakyReLU(slope: slope), to: try convolution(x, name, outputs: outputs, side: 3))
  }

  /// Makes the result of features.
  ///
  /// - Parameter image: the network's input.
  mutating func reconstruct(
    _ x: Value, _ image: Value, _ upsampler: Upsampler
  ) throws -> (output: Value, scale: Int) {
    switch upsampler {
    case .pixelShuffleDirect: return try shuffleDirectly(x, outputs: image.channels)
    case .pixelShuffle: return try shuffleInStages(x, outputs: image.channels)
    case .pixelShuffleBeside:
      var x = try activatedConvolution(x, "conv_before_upsample.0", slope: 0.01)
      x = try convolution(x, "conv_aux", outputs: image.channels, side: 3)
      x = try activatedConvolution(x, "conv_after_aux.0", slope: 0.01)
      let (upscaled, scale) = try upscaleInStages(x)
      // The original squeezes the image with its extension to multiples of a window into the size of
      // the result without it; here both keep their places.
      let beside = add(.bicubic(PixelRatio(scale)), [image], channels: image.channels)
      x = add(
        upscaled,
        try convolution(beside, "conv_bicubic", outputs: upscaled.channels, side: 3))
      return (try convolution(x, "conv_last", outputs: image.channels, side: 3), scale)
    case .nearestConvolution:
      var x = try activatedConvolution(x, "conv_before_upsample.0", slope: 0.01)
      var scale = 1
      for name in ["conv_up1", "conv_up2", "conv_up3"] where contains("\(name).weight") {
        x = try activatedConvolution(nearest(x, 2), name, outputs: x.channels, slope: 0.2)
        scale *= 2
      }
      x = try activatedConvolution(x, "conv_hr", outputs: x.channels, slope: 0.2)
      return (try convolution(x, "conv_last", outputs: image.channels, side: 3), scale)
    case .none:
      let made = try convolution(x, "conv_last", outputs: image.channels, side: 3)
      return (add(made, image), 1)
    }
  }

  /// Ends with one convolution and a pixel shuffle (`pixelshuffledirect`).
  mutating func shuffleDirectly(
    _ x: Value, outputs: Int
  ) throws -> (output: Value, scale: Int) {
    let factor = try squareFactor(of: "upsample.0", outputs: outputs)
    return (pixelShuffle(try convolution(x, "upsample.0", side: 3), factor), factor)
  }

  /// Ends with a convolution, then one with a pixel shuffle for every factor of 2 or for a factor of
  /// 3, and a last convolution (`pixelshuffle`).
  mutating func shuffleInStages(
    _ x: Value, outputs: Int
  ) throws -> (output: Value, scale: Int) {
    let (x, scale) = try upscaleInStages(
      activatedConvolution(x, "conv_before_upsample.0", slope: 0.01))
    return (try convolution(x, "conv_last", outputs: outputs, side: 3), scale)
  }

  private mutating func upscaleInStages(_ x: Value) throws -> (output: Value, scale: Int) {
    var x = x
    let width = x.channels
    var (scale, stage) = (1, 0)
    while contains("upsample.\(2 * stage).weight") {
      let name = "upsample.\(2 * stage)"
      let count = try dimensions(of: "\(name).weight", rank: 4)[0]
      guard stage < 3, count == 4 * width || count == 9 * width else {
        throw WeightMismatch(
          tensor: "\(name).weight",
          problem: "has \(counted(count, "output")), expected \(4 * width) or \(9 * width) in up "
            + "to 3 stages")
      }
      let factor = count == 4 * width ? 2 : 3
      x = pixelShuffle(try convolution(x, name, side: 3), factor)
      scale *= factor
      stage += 1
    }
    return (x, scale)
  }
}
