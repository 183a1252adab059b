import Imaging
import Testing

@Suite struct PictureTests {
  @Test func sampleCountMatchesDimensions() {
    let picture = Picture(channelCount: 2, height: 1, width: 2, samples: [1, 2, 3, 4])
    #expect(picture.samples.count == picture.channelCount * picture.height * picture.width)
  }
}
