/// DAT on a tape; equal to `DAT` up to rounding.
struct TrainableDAT: TrainableNetwork {
  let channelCount: Int
  let scale: Int
  let range: PixelRange
  private let split: DATConfiguration.Split
  private let first: TrainableLayer
  private let firstNorm: TrainableNorm
  private let groups: [Group]
  private let norm: TrainableNorm
  private let last: TrainableResidualConvolution
  private let reconstruction: TrainableReconstruction

  private struct Group {
    let blocks: [TrainableDATBlock]
    let convolution: TrainableResidualConvolution
  }

  init(_ network: DAT, _ finder: ParameterFinder) throws {
    channelCount = network.channelCount
    scale = network.scale
    split = network.configuration.split
    range = PixelRange(channelCount: network.channelCount, range: 1)
    first = try finder.layer("conv_first")
    firstNorm = try finder.norm("before_RG.1")
    groups = try network.groups.enumerated().map { group, blocks in
      Group(
        blocks: try blocks.blocks.enumerated().map { index, block in
          try TrainableDATBlock("layers.\(group).blocks.\(index)", block, finder)
        },
        convolution: try TrainableResidualConvolution("layers.\(group).conv", finder))
    }
    norm = try finder.norm("norm")
    last = try TrainableResidualConvolution("conv_after_body", finder)
    reconstruction = try TrainableReconstruction(network.reconstruction, finder)
  }

  var paddingMultiple: Int { 1 }

  func check(height: Int, width: Int) throws {}

  /// Returns the unshifted windows for both halves of the channels, then the shifted ones.
  func layouts(height: Int, width: Int) -> [WindowLayout] {
    let sides = [(split.height, split.width), (split.width, split.height)]
    return [false, true].flatMap { isShifted in
      sides.map { down, right in
        WindowLayout(
          WindowGrid(
            height: height, width: width, window: (down, right),
            shift: isShifted ? (down / 2, right / 2) : (0, 0), multiple: max(down, right)))
      }
    }
  }

  func run(_ pixels: Variable, height: Int, _ layouts: [WindowLayout], _ tape: Tape) -> (
    output: Variable, groups: [Variable]
  ) {
    let shallow = first.convolve(pixels, height: height, tape)
    var x = firstNorm.apply(shallow, tape)
    var features: [Variable] = []
    for group in groups {
      let residual = x
      for block in group.blocks { x = block.run(x, height: height, layouts, split, tape) }
      x = group.convolution.run(x, height: height, adding: residual, tape)
      features.append(x)
    }
    x = last.run(norm.apply(x, tape), height: height, adding: shallow, tape)
    return (reconstruction.run(x, height: height, tape), features)
  }
}
